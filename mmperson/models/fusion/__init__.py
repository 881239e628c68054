"""Fusion networks: tokens of every modality and a presence mask in, one vector per trait out."""
