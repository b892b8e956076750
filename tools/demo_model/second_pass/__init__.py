"""The demo's offline model: whole sentences, times on a 20 ms grid, and hotwords."""
