"""Signals: numbers measured on a document."""
