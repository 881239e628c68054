"""Audio inputs: descriptors, prosody, spectra, waveforms."""
