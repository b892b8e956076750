"""Decode, resample, buffer and segment audio; no model runs here."""
