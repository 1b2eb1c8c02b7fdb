"""Reading: raw files as records, and a corpus as documents."""
