"""The server's side of a connection without a network: the test scripts the client."""

import asyncio
import json

from starlette.websockets import WebSocketDisconnect

from tests.support.serving import within


class Socket:
    """A WebSocket whose client sends what a test says, and reads once `readable` is set."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[dict[str, object]] = asyncio.Queue()
        self.sent: list[dict[str, object]] = []
        self.closed: tuple[int, str] | None = None
        self.readable = asyncio.Event()
        self.aborted = False
        self.scope = {"state": {"abort": self.abort}}
        self._changed = asyncio.Event()

    def send(self, *messages: str | bytes) -> None:
        """Queue messages of the client."""
        for message in messages:
            kind = "text" if isinstance(message, str) else "bytes"
            self.incoming.put_nowait({"type": "websocket.receive", kind: message})

    def abort(self) -> None:
        """Lose the connection, from either side."""
        self.aborted = True
        self.incoming.put_nowait({"type": "websocket.disconnect", "code": 1006})
        self.readable.set()

    async def sent_event(self, name: str) -> None:
        """Return once the server has sent an event of this name."""
        async with within(5):
            while not any(message["header"]["event"] == name for message in self.sent):
                self._changed.clear()
                await self._changed.wait()

    async def all_read(self) -> None:
        """Return once the server has read every message."""
        async with within(5):
            while self.incoming.qsize():
                self._changed.clear()
                await self._changed.wait()

    async def receive(self):
        message = await self.incoming.get()
        self._changed.set()
        return message

    async def send_text(self, frame: str) -> None:
        await self.readable.wait()
        if self.aborted:
            raise WebSocketDisconnect(1006)
        self.sent.append(json.loads(frame))
        self._changed.set()

    async def close(self, code: int, reason: str) -> None:
        await self.readable.wait()
        self.closed = (code, reason)
