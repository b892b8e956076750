"""Recordings through the server's own protocol, for the commands that work on files."""
