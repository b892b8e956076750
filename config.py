"""The settings with which `main:app` runs; `asr_server.configuration` reads them."""

from asr_server.main import settings

__all__ = ["settings"]
