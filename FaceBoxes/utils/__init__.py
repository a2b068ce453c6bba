"""Priors, decoding, suppression and timing around the detector's network."""
