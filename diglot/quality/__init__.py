"""Quality models: n-gram language models and classifiers, trained on trusted text, measured, and used by curation."""
