"""Serve HTTP: health, metrics, hotword vocabularies, tokens, pages."""
