"""File formats of word vectors: one module each, and `registry`, which lists them."""
