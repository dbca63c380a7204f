"""Training on a rented machine: what is sent there, what it runs, what comes home."""
