"""wordlab: train word embeddings and compare them honestly."""

__version__ = "0.1.0"
