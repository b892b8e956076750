"""Define every error as the client sees it: DashScope's code, HTTP status, close code.

AsrError
├── ClientError                  the client's fault; the same request fails again
│   ├── InvalidParameter         InvalidParameter
│   │   ├── MalformedMessage     a text frame that cannot be read; closes with 1007
│   │   ├── MessageTooLong       a message over the limit; closes with 1009
│   │   ├── DecodeError          the audio is not what `format` says
│   │   ├── AudioTooLong         more audio than a task of this model may have
│   │   └── TaskTooLong          a task that runs longer than this server allows
│   ├── InvalidApiKey            HTTP 401 before the upgrade
│   ├── AccessDenied             HTTP 403 before the upgrade
│   ├── NotFound                 the object of an HTTP request does not exist
│   ├── UnknownPath              nothing is served at the path of a request or handshake
│   ├── MethodNotAllowed         the path takes another HTTP method
│   ├── ModelNotFound            the model's name is unknown
│   ├── UnsupportedFormat        UNSUPPORTED_FORMAT
│   ├── NoValidAudio             NO_VALID_AUDIO_ERROR: a task without a single sample
│   ├── IdleTimeout              CLIENT_ERROR: no audio received for 23 s
│   ├── RequestTimeout           an HTTP request that does not end: HTTP 408
│   └── ResponseTimeout          a minute of audio without speech
├── Throttled                    over a limit; the same request may succeed later
│   └── TooManyMessages          far more messages than audio needs; closes with 1008
├── ServiceUnavailable           every connection is taken: HTTP 503 before the upgrade
│   ├── ShuttingDown             the server drains: 503, or the task fails
│   └── DatabaseUnavailable      the database does not answer: 503, or the task fails
└── InternalError                the server's fault; the client gets no details
    ├── EngineError              this task fails
    └── EngineDead               every task fails until the engine has restarted

Codes and messages follow the error catalogue of DashScope's real-time recognition, to the letter
where clients are known to compare them.
"""

from collections.abc import Collection
from typing import ClassVar


class AsrError(Exception):
    """Carry what a client sees of a failure; raise a subclass."""

    code: ClassVar[str]
    """DashScope's `error_code` (or `code` in an HTTP body)."""
    message: ClassVar[str] = ""
    """The text unless the raiser gives another."""
    http_status: ClassVar[int] = 500
    close_code: ClassVar[int] = 1000
    """WebSocket close code after task-failed: some clients take any but 1000 for a crash."""
    explained: ClassVar[bool] = False
    """Whether the close frame and the log quote the text: it repeats nothing the client sent."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(self.message if message is None else message)

    @property
    def client_message(self) -> str:
        """Return the text for the client."""
        return str(self)

    @property
    def close_reason(self) -> str:
        """Return the reason in the close frame."""
        return self.client_message if self.explained else self.code


class ClientError(AsrError):
    """Report a fault of the client: the same request fails again."""

    http_status = 400


class InvalidParameter(ClientError):
    code = "InvalidParameter"
    message = "Request parameter is invalid."


class MalformedMessage(InvalidParameter):
    message = "Invalid payload data"
    close_code = 1007


class MessageTooLong(InvalidParameter):
    close_code = 1009
    explained = True

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"A message is longer than {max_bytes} bytes.")


class DecodeError(InvalidParameter):
    message = "Failed to decode audio"

    def __init__(self, detail: str = "") -> None:
        super().__init__(f"{self.message}: {detail}" if detail else None)
        self.detail = detail


class AudioTooLong(InvalidParameter):
    def __init__(self, seconds: float) -> None:
        super().__init__(f"The audio is longer than {seconds:g} seconds.")


class TaskTooLong(InvalidParameter):
    def __init__(self, seconds: float) -> None:
        super().__init__(f"The task is longer than {seconds:g} seconds.")


class InvalidApiKey(ClientError):
    code = "InvalidApiKey"
    message = "Invalid API-key provided."
    http_status = 401


class AccessDenied(ClientError):
    code = "AccessDenied"
    message = "Access denied."
    http_status = 403


class NotFound(ClientError):
    code = "BadRequest.ResourceNotExist"
    message = "The required resource not exist"
    http_status = 404


class UnknownPath(ClientError):
    code = "NotFound"
    message = "Nothing is served at this path; recognition is at /api-ws/v1/inference (WebSocket)."
    http_status = 404


class MethodNotAllowed(ClientError):
    code = "MethodNotAllowed"
    message = "This path does not take this HTTP method."
    http_status = 405


class ModelNotFound(ClientError):
    code = "ModelNotFound"
    http_status = 404

    def __init__(self, model: str) -> None:
        super().__init__(f"Model not found ({model})!")


class UnsupportedFormat(ClientError):
    code = "UNSUPPORTED_FORMAT"

    def __init__(self, name: str, accepted: Collection[str] = ()) -> None:
        reason = f"Audio format '{name}' is not supported"
        if accepted:
            reason += f"; the parameter 'format' is one of {', '.join(accepted)}"
        super().__init__(reason + ".")


class NoValidAudio(ClientError):
    code = "NO_VALID_AUDIO_ERROR"
    message = "NO_VALID_AUDIO_ERROR"


class IdleTimeout(ClientError):
    code = "CLIENT_ERROR"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"request timeout after {seconds:g} seconds.")


class ResponseTimeout(ClientError):
    code = "ResponseTimeout"
    message = "Response timeout!"


class RequestTimeout(ClientError):
    code = "RequestTimeOut"
    http_status = 408

    def __init__(self, part: str, seconds: float) -> None:
        super().__init__(f"The {part} of the request did not arrive within {seconds:g} seconds.")


class Throttled(AsrError):
    """Refuse a task or request over a limit rather than serve it too slowly."""

    code = "Throttling.RateQuota"
    message = "Requests rate limit exceeded, please try again later."
    http_status = 429


class TooManyMessages(Throttled):
    close_code = 1008
    explained = True

    def __init__(self, per_second: float) -> None:
        super().__init__(f"More than {per_second:g} messages a second that bring little audio.")


class ServiceUnavailable(AsrError):
    """Refuse a connection over the limit."""

    code = "ServiceUnavailable"
    message = "Service is temporarily unavailable, please try again later."
    http_status = 503


class ShuttingDown(ServiceUnavailable):
    message = "The server is shutting down, please connect again."


class DatabaseUnavailable(ServiceUnavailable):
    message = "The hotword lists are unavailable, please try again later or go on without one."


class InternalError(AsrError):
    """Report a fault of the server; its text is for the log and not for the client."""

    code = "InternalError"
    message = "An internal error has occurred, please try again later or contact service support."
    close_code = 1011

    @property
    def client_message(self) -> str:
        """Return a text without details of the server."""
        return self.message


class EngineError(InternalError):
    """Report that a step failed for one stream; the others continue."""


class EngineDead(InternalError):
    """Report that the device died or hangs; the engine restarts it."""

    http_status = 503
