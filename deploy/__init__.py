"""What deploys Quintet; nothing here is imported by what runs."""
