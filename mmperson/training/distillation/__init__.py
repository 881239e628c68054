"""Distillation of a Gaussian process into the network."""
