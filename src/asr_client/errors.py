"""What can go wrong, and how the server's own errors map to it.

AsrError
├── ServerAway              unreachable, or the connection was lost
├── ServerBusy              no capacity now
├── Unauthorized            the API key
├── TaskFailed              the server refused or ended the task
├── ProtocolError           the server sent what is no message of the protocol
└── MicrophoneUnavailable
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RETRYABLE_CODES = ("InternalError", "SystemError", "ServiceUnavailable", "GatewayTimeout")
NO_AUDIO = "NO_VALID_AUDIO_ERROR"
"""The code of a task that ended without a sample."""


class AsrError(Exception):
    """The stream cannot continue; `code` is the server's where it gave one."""

    retryable = False

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class ServerAway(AsrError):
    """The server is unreachable, or the connection was lost."""

    retryable = True


class ServerBusy(AsrError):
    """The server has no capacity for the task now."""

    retryable = True


class Unauthorized(AsrError):
    """The API key is missing or refused."""


class TaskFailed(AsrError):
    """The server refused or ended the task; see `code`."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(f"{code}: {message}" if code not in ("", message) else message, code)
        self.retryable = code.startswith(RETRYABLE_CODES) or self.is_idle_timeout

    @property
    def is_idle_timeout(self) -> bool:
        """Return whether the task ended only because no audio or no speech came."""
        text = str(self).lower()
        return "request timeout" in text or "response timeout" in text


class ProtocolError(AsrError):
    """The server sent a message that is not of this protocol."""


class MicrophoneUnavailable(AsrError):
    """There is no microphone, no permission, or no `sounddevice`."""


class StreamClosed(RuntimeError):
    """Audio was pushed after end_input() or after the end of the stream."""


def task_error(header: Mapping[str, Any]) -> AsrError:
    """Return the error that the header of a task-failed event describes."""
    code = str(header.get("error_code") or "")
    message = str(header.get("error_message") or "the task failed")
    if code.startswith("Throttling"):
        return ServerBusy(message, code)
    if code == "InvalidApiKey":
        return Unauthorized(message, code)
    return TaskFailed(message, code)
