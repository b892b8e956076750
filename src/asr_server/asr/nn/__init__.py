"""Define the networks, and nothing of how they are loaded or run."""
