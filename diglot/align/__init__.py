"""Instruction data and preferences: read in the common forms, checked, counted, split."""
