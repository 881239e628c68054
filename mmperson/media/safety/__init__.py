"""Checks of container indexes and tags before FFmpeg reads them."""
