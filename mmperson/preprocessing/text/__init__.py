"""Transcripts to token ids."""
