"""Learning byte-pair encoding: the trainer in kernels."""
