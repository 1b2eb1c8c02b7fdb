"""Measuring a model: bits per byte, choice and generation tasks, preference pairs."""
