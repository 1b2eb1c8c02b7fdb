"""Deduplication: of documents, exact and near, and of lines and paragraphs."""
