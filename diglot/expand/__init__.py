"""Vocabulary expansion: a model gets the rows of an extended tokenizer, and more layers where they are asked for."""
