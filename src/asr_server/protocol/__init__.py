"""DashScope's wire, both directions, without state."""
