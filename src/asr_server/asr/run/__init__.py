"""Run the networks: slots of state, traced layers, shape buckets, CUDA graphs."""
