"""Measurements of speed, quality and peers, on one harness: ``python -m benchmarks``."""
