"""Carry the conversation over WebSocket: connections, their limits and their logs."""
