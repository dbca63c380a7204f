"""A version that is tried on live traffic: shadow, canary, and the test that takes it back."""
