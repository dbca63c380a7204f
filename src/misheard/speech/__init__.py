"""What a transcriber is, the ones shipped here, and where models come from."""
