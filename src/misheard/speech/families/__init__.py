"""Kinds of models that Transformers runs, one file each; Whisper is CTranslate2's."""
