"""Open the Realtime door: `/v1/realtime` of OpenAI and `/api-ws/v1/realtime` of DashScope."""

import secrets
from functools import partial
from typing import Any

from starlette.datastructures import Headers, QueryParams
from starlette.types import Scope

from asr_server.errors import AsrError
from asr_server.protocol.realtime import Append, Refused, parse
from asr_server.protocol.realtime_events import RealtimeEvents
from asr_server.protocol.realtime_session import (
    BETA,
    OPENAI,
    QWEN,
    Dialect,
    InvalidEvent,
    default_config,
)
from asr_server.settings import Settings
from asr_server.state.realtime import RealtimeSession
from asr_server.websocket.door import Door, Message
from asr_server.websocket.message_budget import MessageBudget

QWEN_PATH = "/{prefix:path}api-ws/v1/realtime"
OPENAI_PATH = "/{prefix:path}v1/realtime"

SUBPROTOCOL = "realtime"
KEY_SUBPROTOCOL, BETA_SUBPROTOCOL = "openai-insecure-api-key.", "openai-beta.realtime-v1"
"""What browsers send in place of headers: OpenAI's SDK for JavaScript offers them."""


def realtime_door(settings: Settings, now: float, scope: Scope) -> Door:
    """Return the door for a connection; its path and a header decide on the dialect."""
    dialect = _dialect(scope)
    model = QueryParams(scope["query_string"]).get("model")
    if dialect is not QWEN and model and model.startswith("gpt-") and "transcribe" not in model:
        model = None  # the model of a conversation, which has another one transcribe
    events = RealtimeEvents(f"sess_{secrets.token_hex(10)}", dialect)
    session = RealtimeSession(settings, now, events, default_config(dialect, model))
    budget: MessageBudget | None = scope.get("state", {}).get("budget")
    if budget is not None:
        budget.audio_as_text = True

    def failed(_: str, error: AsrError) -> str:
        return events.error(error)

    return Door(session, partial(_parse, budget), failed, session.open())


def subprotocol_key(scope: Scope) -> str | None:
    """Return the API key that a browser offers as a subprotocol."""
    offered = (name for name in scope.get("subprotocols", ()) if name.startswith(KEY_SUBPROTOCOL))
    return next(offered, "").removeprefix(KEY_SUBPROTOCOL) or None


def _dialect(scope: Scope) -> Dialect:
    if scope["path"].rstrip("/").endswith("api-ws/v1/realtime"):
        return QWEN
    beta = "realtime=v1" in Headers(scope=scope).get("openai-beta", "")
    return BETA if beta or BETA_SUBPROTOCOL in scope.get("subprotocols", ()) else OPENAI


def _parse(budget: MessageBudget | None, message: Message) -> Any:
    text = message.get("text")
    if text is None:
        error = InvalidEvent("Binary messages are not part of this protocol; send JSON as text.")
        return Refused(None, error)
    command = parse(text)
    if budget is not None:
        audio_bytes = len(command.audio) if isinstance(command, Append) else 0
        budget.text_read(len(text), audio_bytes)
    return command
