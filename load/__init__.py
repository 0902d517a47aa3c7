"""How fast the real server, the trainer and the ring are, and how they bear load."""
