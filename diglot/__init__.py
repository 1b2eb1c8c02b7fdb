"""Diglot teaches language models new languages: from raw text to a chat model, with the evidence."""

__version__ = "0.1.0"
