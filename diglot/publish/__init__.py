"""A model or a corpus made ready for others: a folder for a hub with a card that is written from the run, and GGUF."""
