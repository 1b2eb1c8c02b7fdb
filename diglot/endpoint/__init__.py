"""The one client of model servers."""
