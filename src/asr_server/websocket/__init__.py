"""The WebSocket transport: one coroutine per connection."""
