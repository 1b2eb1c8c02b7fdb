"""Training: one loop for language modelling, fine-tuning and preferences."""
