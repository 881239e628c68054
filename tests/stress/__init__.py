"""Runs that try to break mmperson: damaged files, kills, fuzzing; ``python -m tests.stress``."""
