"""Transcripts in the files of other tools: references and hypotheses, read and paired."""
