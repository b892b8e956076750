"""`uvicorn main:app`, or `python main.py`."""

from asr_server.app import create_app
from asr_server.models.catalog import ModelError
from asr_server.observability import logs
from asr_server.process.serving import serve
from asr_server.settings import SettingsError
from config import settings

logs.configure(settings)
try:
    app = create_app(settings)
except (ModelError, SettingsError) as error:
    raise SystemExit(f"Not started: {error}") from error

if __name__ == "__main__":
    address = f"ws://{settings.listen_host}:%d/api-ws/v1/inference"
    raise SystemExit(serve(app, settings, lambda port: print("Listening on", address % port)))
