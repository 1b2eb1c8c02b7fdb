"""Quality models: n-gram language models and classifiers, trained on reference text, measured, and used by curation."""
