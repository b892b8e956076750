"""Keep the conversation of one connection, without I/O."""
