"""misheard: closes the loop for speech-to-text in production."""

__version__ = "0.1.0"
