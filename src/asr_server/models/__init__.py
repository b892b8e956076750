"""Which models exist, where they come from and where they lie."""
