"""`uvicorn main:app` and `python main.py` in a checkout; the application is `asr_server.main`."""

from asr_server.main import app, run

__all__ = ["app"]

if __name__ == "__main__":
    raise SystemExit(run())
