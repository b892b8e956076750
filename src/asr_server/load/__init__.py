"""Paced clients for any server that speaks DashScope's protocol, and what they measure."""
