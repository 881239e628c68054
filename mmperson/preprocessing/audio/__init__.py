"""Waveforms to features: descriptors, prosody, spectra."""
