"""Read model directories into networks."""
