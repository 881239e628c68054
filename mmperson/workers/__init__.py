"""Processes that hostile files may end, crash or hang without harm to anything else."""
