"""`uvicorn main:app`, or `python main.py`."""

from asr_server.app import create_app
from asr_server.serving import serve
from config import settings

app = create_app(settings)

if __name__ == "__main__":
    address = f"ws://{settings.host}:%d/api-ws/v1/inference"
    raise SystemExit(serve(app, settings, lambda port: print("Listening on", address % port)))
