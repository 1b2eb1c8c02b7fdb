"""A small invented world: text with known truth in English, Arabic and Indonesian, for demos and tests.

Read in this order: `facts` (what is true), `grammar` (how patterns become sentences), `english`, `arabic`
and `indonesian` (the words and patterns), `documents`, `instructions`, `tasks`, `faults`, and `generate`,
the stage that writes it all.
"""
