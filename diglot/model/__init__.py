"""Models: one decoder, its loss, Hugging Face folders in and out, surgery and merging."""
