"""Where alerts are told: one contract, one way a file."""
