"""HTTP answers to those who are not let in."""

from starlette.responses import JSONResponse

from asr_server.errors import AsrError
from asr_server.protocol import http


def refusal(error: AsrError) -> JSONResponse:
    """Status, body and request id, before the upgrade or instead of an answer."""
    request_id = http.request_id()
    return JSONResponse(
        http.failure(error, request_id), error.http_status, {"x-request-id": request_id}
    )
