"""Build the application for `uvicorn asr_server.main:app`, from the environment and `.env`."""

import logging

from asr_server import configuration
from asr_server.app import create_app
from asr_server.models.catalog import ModelError
from asr_server.observability import logs
from asr_server.process import https, serving
from asr_server.settings import SettingsError

settings = configuration.read_or_exit(model="auto")
logs.configure(settings)
for warning in configuration.unknown_variables():
    logging.getLogger(__name__).warning("%s", warning)
try:
    settings = https.prepare(settings)
    app = create_app(settings)
except (ModelError, SettingsError) as error:
    raise SystemExit(f"Not started: {error}") from error


def run() -> int:
    """Serve until stopped, without uvicorn's own command, and return the exit status."""
    address = f"{'wss' if settings.tls else 'ws'}://{settings.listen_host}:%d/api-ws/v1/inference"
    return serving.serve(app, settings, lambda port: print("Listening on", address % port))
