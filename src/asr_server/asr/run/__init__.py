"""Run networks: slot tensors, tracing, CUDA graphs, shape buckets."""
