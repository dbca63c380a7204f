"""Gates: a candidate must be better than what is live, and worse at nothing that worked."""
