"""Recognition: one engine that batches the streaming model across all streams."""
