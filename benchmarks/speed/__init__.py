"""How fast mmperson scores, decodes and trains."""
