"""Transcripts: files of several formats to words with times."""
