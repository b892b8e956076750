"""Load model directories into networks."""
