"""What the log says so far, kept for reading: the catalogue and every shopper's history."""
