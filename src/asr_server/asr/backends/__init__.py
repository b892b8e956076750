"""What computes a step: the models, their per-stream state and the device."""
