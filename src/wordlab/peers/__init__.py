"""Other programs that train word vectors, run on the words that our stages encoded."""
