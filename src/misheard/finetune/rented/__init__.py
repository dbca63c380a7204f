"""Training on a machine that is rented for it: what is sent there, what it runs, what comes home."""
