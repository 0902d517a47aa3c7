"""Benchmarks: how fast the real server, the trainer and the ring are, beside an ordinary build."""
