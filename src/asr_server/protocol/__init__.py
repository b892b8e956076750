"""Parse and write the messages of DashScope's protocol, without state."""
