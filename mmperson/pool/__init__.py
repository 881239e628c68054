"""Worker processes, isolated so that a malformed clip can crash only its own worker."""
