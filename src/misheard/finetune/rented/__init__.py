"""Training on a machine that is rented for it: both sides meet in a bucket, and only there."""
