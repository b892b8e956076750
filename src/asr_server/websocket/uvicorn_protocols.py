"""Extend uvicorn's protocol classes by what no option offers: limits on what a client may cost.

`WebSocketProtocol` parses a few frames per turn of the event loop, shares each turn fairly among
the connections, enforces the message budget, and answers pings only as fast as the client reads.
`http_protocol` returns a class that registers its socket, so that `Sockets` can close slow ones.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from asr_server.errors import AsrError, MalformedMessage, RequestTimeout
from asr_server.settings import Settings
from asr_server.websocket.message_budget import FrameScanner, MessageBudget
from asr_server.websocket.sockets import Sockets, Waiting, respond

ERROR = "asr_server.error"
"""Key of the error in the `websocket.disconnect` message of a client that broke a limit."""

MAX_TURN_S = 0.005
"""Longest time in one turn of the event loop for parsing what clients sent, in total."""


QUIET_S = 0.25
"""Seconds without input after which a client has seen that the connection is closed."""


class ParseQueue:
    """Let connections with unparsed input take turns, a few milliseconds per turn of the loop."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._scheduled = False

    def add(self, parse: Callable[[], None]) -> None:
        """Call `parse` once, in this turn of the event loop or a later one."""
        self._waiting.append(parse)
        self._schedule()

    def _schedule(self) -> None:
        if self._waiting and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        end = clock() + MAX_TURN_S
        try:
            for _ in range(len(self._waiting)):  # what is added meanwhile waits for the next turn
                self._waiting.popleft()()
                if clock() >= end:
                    break
        finally:
            self._scheduled = False
            self._schedule()


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Carry one WebSocket, whose client may send anything, at a bounded cost."""

    def __init__(
        self, settings: Settings, sockets: Sockets, queue: ParseQueue, **uvicorn: Any
    ) -> None:
        super().__init__(**uvicorn)
        self.close_timeout = settings.close_timeout_s
        self._sockets = sockets
        self._parse_queue = queue
        self._scanner = FrameScanner()
        self.budget = MessageBudget(
            settings.max_messages_per_second, settings.max_message_bytes, self.loop.time()
        )
        self._input = bytearray()
        """Received but not yet parsed."""
        self._queued = False
        """Whether `_parse` is going to be called."""
        self._received_at = 0.0
        self._unsent_pong = b""
        self._deaf = False
        """Whether input is dropped: the connection is about to close."""

    # Input --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with the handshake."""
        super().connection_made(transport)
        self._sockets.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End, whoever closed the socket."""
        self._deaf = True
        self._input.clear()
        self._sockets.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Keep bytes for `_parse`; the handshake is parsed at once."""
        self._received_at = self.loop.time()
        if self._deaf:
            return
        if not self.handshake_initiated:
            super().data_received(data)
            return
        self._input += data
        self._read_on()

    async def receive(self) -> Any:
        """Return the next message; parse or read on once the application has taken all."""
        message = await self.queue.get()
        if self.read_paused and self.queue.empty():
            self.read_paused = False
            self._read_on()
        return message

    def _read_on(self) -> None:
        """Read the socket only while the application and `_parse` have caught up."""
        if self._input and not self.read_paused and not self._queued:
            self._queued = True
            self._parse_queue.add(self._parse)
        if self._queued or self.read_paused:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def _parse(self) -> None:
        """Parse some frames."""
        self._queued = False
        if self._deaf:
            return
        size, frames = self._scanner.scan(self._input)
        if not size:  # the end of a frame's header has not arrived
            self.transport.resume_reading()
            return
        data = bytes(self._input[:size])
        del self._input[:size]
        try:
            self.budget.spend(frames, self.loop.time())
            super().data_received(data)
        except AsrError as error:
            self._refuse(error)
        except Exception:  # a bug, in what asyncio would call, and then close the transport
            self.transport.abort()
            raise
        if not self._deaf:
            self._read_on()

    def send_receive_event_to_app(self) -> None:
        """Pass a complete message on; text that is no UTF-8 is the client's fault."""
        if self.curr_msg_data_type == "text" and not self.close_sent:
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.frames = []
                self._refuse(MalformedMessage("Invalid payload data: the text frame is not UTF-8."))
                return
        super().send_receive_event_to_app()

    # Closing ------------------------------------------------------------------------------------

    def _refuse(self, error: AsrError) -> None:
        """Drop all further input and let the application end the conversation with an error.

        The socket is read on: closed with unread data in it, TCP would drop the last messages.
        """
        self._deaf = True
        self._input.clear()
        self.read_paused = False
        self.queue.put_nowait(
            cast(
                Any,
                {
                    "type": "websocket.disconnect",
                    "code": error.close_code,
                    "reason": error.close_reason,
                    ERROR: error,
                },
            )
        )
        self.transport.resume_reading()

    async def send(self, message: Any) -> None:
        """Send a message; after the close frame, wait for the client's for a limited time."""
        await super().send(message)
        if message["type"] == "websocket.close" and self.close_timer is not None:
            self.close_timer.cancel()  # closing would wait for a client that reads nothing
            self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)
            if self._deaf:
                self.loop.call_later(QUIET_S, self._close_when_quiet)
            else:
                self._read_on()

    def waits_for(self) -> tuple[Waiting, int] | None:
        """Return that the client has to read the end, or None: the session has its own timer."""
        return (Waiting.CLOSE, 0) if self.transport.is_closing() else None

    def expire(self, waiting: Waiting, seconds: float) -> None:
        """Drop what the client does not read."""
        self.transport.abort()

    def handle_parser_exception(self) -> None:
        """Send the close frame that tells which rule of RFC 6455 the client broke."""
        closing = self.conn.close_sent
        assert closing is not None
        self.queue.put_nowait(
            {"type": "websocket.disconnect", "code": closing.code, "reason": closing.reason}
        )
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = self._deaf = True
        self._input.clear()
        self.read_paused = False
        self.transport.resume_reading()
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)
        self.loop.call_later(QUIET_S, self._close_when_quiet)

    def _close_when_quiet(self) -> None:
        """Close the socket once the client has stopped sending."""
        quiet_s = self.loop.time() - self._received_at
        if quiet_s >= QUIET_S:
            self.transport.close()
        else:
            self.loop.call_later(QUIET_S - quiet_s, self._close_when_quiet)

    # Pongs --------------------------------------------------------------------------------------

    def handle_ping(self) -> None:
        """Answer a ping; while the client does not read, only the last one (RFC 6455, 5.5.3)."""
        if self.writable.is_set():
            super().handle_ping()
        elif pongs := self.conn.data_to_send():
            self._unsent_pong = pongs[-1]

    def resume_writing(self) -> None:
        """Send what waited until the client reads again."""
        super().resume_writing()
        if self._unsent_pong and not self.transport.is_closing():
            self.transport.write(self._unsent_pong)
        self._unsent_pong = b""


class HttpProtocol:
    """Mixin of uvicorn's HTTP protocols: register the socket, and tell what it waits for."""

    transport: asyncio.Transport
    cycle: Any
    flow: Any
    timeout_keep_alive_task: Any

    def __init__(self, sockets: Sockets, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self._sockets = sockets

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register the socket, which may be refused."""
        super().connection_made(transport)  # type: ignore[misc]
        self._sockets.accept(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the socket."""
        self._sockets.discard(self)
        super().connection_lost(exc)  # type: ignore[misc]

    def handle_websocket_upgrade(self, *event: Any) -> None:
        """Hand the socket over to a WebSocket protocol, which registers it anew."""
        self._sockets.discard(self)
        super().handle_websocket_upgrade(*event)  # type: ignore[misc]

    def waits_for(self) -> tuple[Waiting, int] | None:
        """Return what the client has to do, and the number of its request."""
        cycle, request = self.cycle, id(self.cycle)
        if self.transport.is_closing():
            return Waiting.CLOSE, request
        if cycle is None or cycle.response_complete:
            idle = self.timeout_keep_alive_task is not None  # uvicorn's own timeout applies
            return None if idle else (Waiting.HEAD, request)
        if cycle.more_body:
            return Waiting.BODY, request
        return (Waiting.RESPONSE, request) if self.flow.write_paused else None

    def expire(self, waiting: Waiting, seconds: float) -> None:
        """Close the socket; a client that has sent a head gets a response."""
        if waiting is Waiting.BODY and not self.cycle.response_started:
            respond(self.transport, RequestTimeout("body", seconds))
        elif waiting is Waiting.HEAD:
            self.transport.close()
        else:
            self.transport.abort()


def http_protocol(base: type[asyncio.Protocol]) -> Callable[..., asyncio.Protocol]:
    """Return one of uvicorn's HTTP protocol classes, extended; another one stays as it is."""
    if not hasattr(base, "handle_websocket_upgrade"):
        return base
    return type("LimitedHttpProtocol", (HttpProtocol, base), {})
