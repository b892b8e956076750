"""Every error, with what the client sees of it: DashScope's code, HTTP status, close code.

AsrError
├── ClientError                  the client's doing; its task or request fails
│   ├── InvalidParameter         InvalidParameter
│   │   ├── MalformedMessage     a text frame that cannot be read; closes with 1007
│   │   ├── DecodeError          the audio is not what `format` says
│   │   └── AudioTooLong         more audio than a task of this model may have
│   ├── InvalidApiKey            HTTP 401 before the upgrade
│   ├── AccessDenied             HTTP 403 before the upgrade
│   ├── NotFound                 what the HTTP request names does not exist
│   ├── ModelNotFound            no such model on this endpoint
│   ├── UnsupportedFormat        UNSUPPORTED_FORMAT
│   ├── NoValidAudio             NO_VALID_AUDIO_ERROR: a task without a single sample
│   ├── IdleTimeout              CLIENT_ERROR: nothing received for 23 s
│   └── ResponseTimeout          a minute of audio without speech
├── Throttled                    every slot is taken; try again later
├── ServiceUnavailable           every connection is taken: HTTP 503 before the upgrade
│   ├── ShuttingDown             the server is about to stop: 503, or the task fails
│   └── DatabaseUnavailable      the hotword lists cannot be had: 503, or the task fails
└── InternalError                our doing; the client learns no details
    ├── EngineError              this task fails
    └── EngineDead               every task fails, until the recogniser is back

Codes and messages follow the error catalogue of DashScope's real-time recognition; texts that
clients are known to compare are kept to the letter.
"""

from typing import ClassVar


class AsrError(Exception):
    """What a client may be told; raise a subclass."""

    code: ClassVar[str]
    """DashScope's `error_code` (or `code` in an HTTP body)."""
    message: ClassVar[str] = ""
    """What is said when the raiser has nothing more precise."""
    http_status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    """Whether the same request may succeed later."""
    close_code: ClassVar[int] = 1000
    """WebSocket close code after task-failed: some clients take any other as a crash."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(self.message if message is None else message)

    @property
    def told(self) -> str:
        """What the client is told."""
        return str(self)


class ClientError(AsrError):
    """The client's doing."""

    http_status = 400


class InvalidParameter(ClientError):
    code = "InvalidParameter"
    message = "Request parameter is invalid."


class MalformedMessage(InvalidParameter):
    message = "Invalid payload data"
    close_code = 1007


class DecodeError(InvalidParameter):
    message = "Failed to decode audio"


class AudioTooLong(InvalidParameter):
    def __init__(self, seconds: float) -> None:
        super().__init__(f"The audio is longer than {seconds:g} seconds.")


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


class ModelNotFound(ClientError):
    code = "ModelNotFound"
    http_status = 404

    def __init__(self, model: str) -> None:
        super().__init__(f"Model not found ({model})!")


class UnsupportedFormat(ClientError):
    code = "UNSUPPORTED_FORMAT"

    def __init__(self, name: str) -> None:
        super().__init__(f"Audio format '{name}' is not supported.")


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


class Throttled(AsrError):
    """The server is full; an honest refusal instead of a slow answer."""

    code = "Throttling.RateQuota"
    message = "Requests rate limit exceeded, please try again later."
    http_status = 429
    retryable = True


class ServiceUnavailable(AsrError):
    """No connection is left."""

    code = "ServiceUnavailable"
    message = "Service is temporarily unavailable, please try again later."
    http_status = 503
    retryable = True


class ShuttingDown(ServiceUnavailable):
    message = "The server is shutting down, please connect again."


class DatabaseUnavailable(ServiceUnavailable):
    message = "The hotword lists are unavailable, please try again later or go on without one."


class InternalError(AsrError):
    """Our doing; its text is for the log, the client has its task id to ask for."""

    code = "InternalError"
    message = "An internal error has occurred, please try again later or contact service support."
    retryable = True
    close_code = 1011

    @property
    def told(self) -> str:
        """Nothing that only we can understand."""
        return self.message


class EngineError(InternalError):
    """A step failed for this stream; others go on."""


class EngineDead(InternalError):
    """The recogniser died or hangs; it is being started anew."""

    http_status = 503
