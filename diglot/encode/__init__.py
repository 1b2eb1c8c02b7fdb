"""The stage that turns text into tokens."""
