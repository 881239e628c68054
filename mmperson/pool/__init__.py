"""Worker processes that a bad clip may end without harm to the others."""
