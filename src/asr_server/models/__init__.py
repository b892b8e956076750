"""Find, download and verify model directories."""
