"""The import paths of the quick-start guide.

One thin class a file: each turns the guide's call into a call of `misheard`, and the result into
the guide's dict or record. Nothing is decided or kept here.
"""
