"""Frames, faces and their tracks to stacks of pictures."""
