"""What production heard: the inference log."""
