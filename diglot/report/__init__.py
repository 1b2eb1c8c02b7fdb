"""What a run learnt, kept and cost: one offline HTML page (`page`) and one table for the terminal (`terminal`).

    artifacts ──reading──► plain records ──figures──► Plotly ─┐
        └──────results──► before and after ──────────────────┴─sections──► templates ──page──► report.html

Everything that a user or a model wrote passes through Jinja's autoescaping; figures are JSON that a short script
draws, so that they follow the reader's light or dark colours.
"""
