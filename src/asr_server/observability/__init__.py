"""Export metrics, logs, the history of metrics, and GPU figures."""
