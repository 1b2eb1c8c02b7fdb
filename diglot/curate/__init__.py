"""From raw text to a clean corpus: clean, identify, measure, judge, deduplicate, and account for all of it."""
