"""Kinds of models that can be fine-tuned, one file each."""
