"""Measure accuracy: recordings with transcripts in, character error rates out."""
