"""The HTTP side: health, metrics, hotword vocabularies, tokens, pages."""
