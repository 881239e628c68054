"""Benchmarks of a bundle on this machine: speed next to quality. No torch."""
