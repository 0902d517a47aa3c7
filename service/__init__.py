"""Request to recommendation and event to log: the HTTP contract of Quintet."""
