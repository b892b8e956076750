"""Define the `asr-server` command line."""
