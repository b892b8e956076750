"""A load generator for any server that speaks DashScope's protocol, and its figures."""
