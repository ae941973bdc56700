"""Measures of accompaniments, on waveforms and token ids alone."""
