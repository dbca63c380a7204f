"""Datasets: which utterance may be learnt from, and immutable versions of them."""
