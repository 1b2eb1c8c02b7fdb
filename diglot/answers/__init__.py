"""Answers of a model: drawn for prompts, ranked into preference pairs, and counted where they are or are not harmful."""
