"""Export what an operator reads: metrics, logs, history, GPU."""
