"""Error cases and the corrections people make."""
