"""Define every error as the client sees it: DashScope's code, HTTP status, close code.

Codes and messages follow the error catalogue of DashScope's real-time recognition, to the letter
where clients are known to compare them.
"""

from typing import ClassVar


class AsrError(Exception):
    """Carry what a client sees of a failure; raise a subclass."""

    code: ClassVar[str]
    """DashScope's `error_code` (or `code` in an HTTP body)."""
    message: ClassVar[str] = ""
    """The text unless the raiser gives a detail."""
    template: ClassVar[str] = "{}"
    """The text of a detail."""
    http_status: ClassVar[int] = 500
    close_code: ClassVar[int] = 1000
    """WebSocket close code after task-failed: some clients take any but 1000 for a crash."""

    def __init__(self, detail: object = None) -> None:
        super().__init__(self.message if detail is None else self.template.format(detail))

    @property
    def client_message(self) -> str:
        """Return the text for the client."""
        return str(self)


class ClientError(AsrError):
    """Report a fault of the client: the same request fails again."""

    http_status = 400


class InvalidParameter(ClientError):
    code = "InvalidParameter"
    message = "Request parameter is invalid."


class MalformedMessage(InvalidParameter):
    """Refuse a text frame that cannot be read."""

    message = "Invalid payload data"
    close_code = 1007


class DecodeError(InvalidParameter):
    """Refuse audio that is not what `format` says."""

    message = "Failed to decode audio"


class AudioTooLong(InvalidParameter):
    """Refuse more seconds of audio than a task of this model may have."""

    template = "The audio is longer than {:g} seconds."


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
    template = "Model not found ({})!"
    http_status = 404


class UnsupportedFormat(ClientError):
    code = "UNSUPPORTED_FORMAT"
    template = "Audio format '{}' is not supported."


class NoValidAudio(ClientError):
    """Report a task without a single sample."""

    code = message = "NO_VALID_AUDIO_ERROR"


class IdleTimeout(ClientError):
    """Report seconds without input."""

    code = "CLIENT_ERROR"
    template = "request timeout after {:g} seconds."


class ResponseTimeout(ClientError):
    """Report a minute of audio without speech."""

    code = "ResponseTimeout"
    message = "Response timeout!"


class Throttled(AsrError):
    """Refuse a task or request over a limit; the same request may succeed later."""

    code = "Throttling.RateQuota"
    message = "Requests rate limit exceeded, please try again later."
    http_status = 429


class ServiceUnavailable(AsrError):
    """Refuse a connection over the limit, before the upgrade."""

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
        return self.message


class EngineError(InternalError):
    """Report that a step failed for one stream; the others continue."""


class EngineDead(InternalError):
    """Report that the device died or hangs: every task fails until the engine has restarted."""

    http_status = 503
