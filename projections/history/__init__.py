"""Every shopper's history, kept for reading and rebuilt from the log at any time."""
