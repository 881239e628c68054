"""Encoders: one modality in, tokens and their mask out."""
