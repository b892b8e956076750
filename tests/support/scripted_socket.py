"""A server's side of a connection, without a network: the test says what the client does."""

import asyncio
import json

from starlette.websockets import WebSocketDisconnect


class Socket:
    """A connection whose client reads only when let."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[dict[str, object]] = asyncio.Queue()
        self.sent: list[dict[str, object]] = []
        self.closed: tuple[int, str] | None = None
        self.readable = asyncio.Event()
        self.lost = False
        self.scope = {"state": {"cut": self.cut}}

    def say(self, *messages: str | bytes) -> None:
        for message in messages:
            kind = "text" if isinstance(message, str) else "bytes"
            self.incoming.put_nowait({"type": "websocket.receive", kind: message})

    def cut(self) -> None:
        self.lost = True
        self.incoming.put_nowait({"type": "websocket.disconnect", "code": 1006})
        self.readable.set()

    async def receive(self):
        return await self.incoming.get()

    async def send_text(self, frame: str) -> None:
        await self.readable.wait()
        if self.lost:
            raise WebSocketDisconnect(1006)
        self.sent.append(json.loads(frame))

    async def close(self, code: int, reason: str) -> None:
        await self.readable.wait()
        self.closed = (code, reason)
