"""Content-addressed files behind one small interface."""
