"""Measurements: nothing here is a test, everything here says what it ran on."""
