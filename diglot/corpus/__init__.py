"""From raw text to a clean corpus: read, identify, correct, measure, filter, deduplicate, and account for all of it."""
