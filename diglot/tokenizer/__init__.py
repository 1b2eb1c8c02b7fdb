"""Tokenizers: train one, extend one by a language, and measure and prove what they do."""
