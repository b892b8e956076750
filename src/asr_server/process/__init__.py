"""Run the server process: uvicorn, signals, heap."""
