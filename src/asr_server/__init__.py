"""Self-hosted real-time Mandarin speech recognition that speaks DashScope's WebSocket protocol."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("asr-server")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"
