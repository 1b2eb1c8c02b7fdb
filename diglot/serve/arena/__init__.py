"""The arena: a page on which people say which of two answers is better, without knowing whose they are.

    entrants ──two of them, sides drawn──► app ──► arena.html, arena.js     what people see
                                            └────► votes                   SQLite: battles, votes ──► results, export

Votes are safe once the page says so (WAL, every vote synced). Nothing that a page is sent names an entrant.
"""
