"""How well a server hears: recordings with transcripts in, character error rates out."""
