"""Sound as numbers: decoding, resampling, buffering, endpointing. No models."""
