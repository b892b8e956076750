"""Write errors as OpenAI's API does, for its HTTP routes and its Realtime events."""

import re
from typing import Any

from asr_server.errors import (
    AccessDenied,
    AsrError,
    ClientError,
    InvalidApiKey,
    ModelNotFound,
    NoValidAudio,
    RequestTimeout,
    ServiceUnavailable,
    Throttled,
    UnsupportedFormat,
)

CODES: tuple[tuple[type[AsrError], str, str, str | None], ...] = (
    (InvalidApiKey, "authentication_error", "invalid_api_key", None),
    (AccessDenied, "permission_error", "access_denied", None),
    (ModelNotFound, "invalid_request_error", "model_not_found", "model"),
    (UnsupportedFormat, "invalid_request_error", "unsupported_format", "file"),
    (RequestTimeout, "invalid_request_error", "request_timeout", None),
    (ClientError, "invalid_request_error", "invalid_value", None),
    (Throttled, "rate_limit_error", "rate_limit_exceeded", None),
    (ServiceUnavailable, "server_error", "service_unavailable", None),
    (AsrError, "server_error", "internal_error", None),
)
"""Type, code and parameter of an error; the first row that fits counts."""


NAMES = " GET /v1/models lists the names."

_PATH = re.compile(r"(?:^|/)(?<!/api/)(?<!-ws/)v1/")
"""Paths of OpenAI's shape; DashScope's have `api/v1` or `api-ws/v1`."""


def serves(path: str) -> bool:
    """Return whether the clients of a path expect errors of this shape."""
    return _PATH.search(path) is not None


class InvalidRequest(ClientError):
    """Report a parameter of a request of OpenAI's shape."""

    code = "InvalidParameter"

    def __init__(self, message: str, param: str | None) -> None:
        super().__init__(message)
        self.param = param


class RequestTooLong(InvalidRequest):
    http_status = 413


class NoForm(InvalidRequest):
    http_status = 415


def error_body(error: AsrError) -> dict[str, Any]:
    """Return the `error` object of a response or an event."""
    kind, code, param = next(row[1:] for row in CODES if isinstance(error, row[0]))
    message = error.client_message
    if isinstance(error, ModelNotFound):
        message += NAMES
    if isinstance(error, NoValidAudio):
        message = "There is no audio in it."
    return {
        "message": message,
        "type": kind,
        "param": getattr(error, "param", param),
        "code": code,
    }
