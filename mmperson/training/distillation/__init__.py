"""A Gaussian process as teacher, and what a network learns of it."""
