"""Serves transcripts: decodes what clients send, where it may go wrong, joins it into batches."""
