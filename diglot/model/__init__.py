"""Models: one decoder, its loss, and Hugging Face folders in and out."""
