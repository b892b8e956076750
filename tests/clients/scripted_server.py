"""A server for client tests whose transcript is a function of the samples.

Every 100 ms of audio holds one constant sample: 0 is silence, v > 0 stands for `chr(0x4E00 + v)`.
So the text alone shows whether a client lost, doubled or reordered any audio.
"""

from __future__ import annotations

import array
import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

BLOCK = 3200  # bytes in 100 ms


def pcm_of(text: str) -> bytes:
    """Return PCM that the server recognises as `text`; a space is 100 ms of silence."""
    return b"".join(_block(0 if c == " " else ord(c) - 0x4E00) for c in text)


def _block(value: int) -> bytes:
    return array.array("h", [value]).tobytes() * (BLOCK // 2)


def text_of(letters: str) -> str:
    """Return characters that `pcm_of` can carry, one for each digit or letter."""
    return "".join(" " if c == " " else chr(0x4E00 + ord(c)) for c in letters)


@dataclass
class Task:
    """A task as requested, and the progress of its recognition."""

    task_id: str
    payload: dict[str, Any]
    audio: bytearray = field(default_factory=bytearray)
    recognised: int = 0  # blocks
    sentences: int = 0
    open: list[tuple[int, str]] = field(default_factory=list)  # (block, character)
    silent: int = 0
    is_finished: bool = False

    @property
    def parameters(self) -> dict[str, Any]:
        """As sent."""
        return self.payload["parameters"]


class ScriptedServer:
    """Behaves as its attributes state; records what clients sent."""

    def __init__(self) -> None:
        self.url = ""
        self.tasks: list[Task] = []
        self.connections = 0
        self.headers: list[Any] = []
        self.paths: list[str] = []
        self.refuse_with: HTTPStatus | None = None
        self.refusal = "refused\n"
        self.refuse_empty = False  # whether a task without audio fails
        self.one_sentence = ""  # "by itself" or "on finish-task": how such a task ends
        self.fail_run: list[tuple[str, str]] = []  # answered to run-task, first come first served
        self.drop_after: list[int] = []  # bytes of a task after which its connection is cut
        self.fail_after: list[tuple[int, str, str]] = []  # bytes, code, message
        self.on_audio: Callable[[Task], None] = lambda task: None
        self._server: Server | None = None
        self._port = 0

    async def start(self) -> None:
        """Listen; again on the same port after stop()."""
        self._server = await serve(
            self._serve, "127.0.0.1", self._port, process_request=self._process_request
        )
        self._port = self._server.sockets[0].getsockname()[1]
        self.url = f"ws://127.0.0.1:{self._port}"

    async def stop(self) -> None:
        """Go away as a killed process does: no close frames."""
        if self._server is None:
            return
        server, self._server = self._server, None
        for connection in list(server.connections):
            connection.transport.abort()
        server.close()
        await server.wait_closed()

    async def __aenter__(self) -> ScriptedServer:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    def _process_request(self, connection: ServerConnection, request: Any) -> Any:
        self.paths.append(request.path)
        self.headers.append(request.headers)
        if self.refuse_with is not None:
            return connection.respond(self.refuse_with, self.refusal)
        return None

    async def _serve(self, connection: ServerConnection) -> None:
        self.connections += 1
        task: Task | None = None
        try:
            async for message in connection:
                if isinstance(message, bytes):
                    if task is not None:
                        await self._take_audio(connection, task, message)
                    continue
                command = json.loads(message)
                header = command["header"]
                if header["action"] == "run-task":
                    task = await self._run_task(connection, header, command["payload"])
                elif header["action"] == "finish-task" and task is not None:
                    await self._finish(connection, task)
                    task = None
        except ConnectionClosed:
            pass

    async def _run_task(
        self, connection: ServerConnection, header: dict[str, Any], payload: dict[str, Any]
    ) -> Task | None:
        task = Task(header["task_id"], payload)
        self.tasks.append(task)
        if self.fail_run:
            await self._fail(connection, task, *self.fail_run.pop(0))
            return None
        await self._send(connection, task, "task-started", {})
        return task

    async def _take_audio(self, connection: ServerConnection, task: Task, data: bytes) -> None:
        task.audio += data
        self.on_audio(task)
        if self.drop_after and len(task.audio) >= self.drop_after[0]:
            self.drop_after.pop(0)
            connection.transport.abort()
            return
        if self.fail_after and len(task.audio) >= self.fail_after[0][0]:
            _, code, message = self.fail_after.pop(0)
            await self._fail(connection, task, code, message)
            return
        while (
            not (self.one_sentence and task.sentences)
            and len(task.audio) >= (task.recognised + 1) * BLOCK
        ):
            await self._recognise_block(connection, task)

    async def _recognise_block(self, connection: ServerConnection, task: Task) -> None:
        at = task.recognised
        task.recognised += 1
        value = int.from_bytes(task.audio[at * BLOCK : at * BLOCK + 2], "little", signed=True)
        if value:
            task.silent = 0
            task.open.append((at, chr(0x4E00 + value)))
            await self._result(connection, task, final=False)
        elif task.open:
            task.silent += 1
            if task.silent * 100 >= task.parameters.get("max_sentence_silence", 800):
                await self._result(connection, task, final=True)

    async def _finish(self, connection: ServerConnection, task: Task) -> None:
        if task.is_finished:
            return
        if self.refuse_empty and not task.audio:
            await self._fail(connection, task, "NO_VALID_AUDIO_ERROR", "NO_VALID_AUDIO_ERROR")
            return
        if task.open:
            await self._result(connection, task, final=True)
        task.is_finished = True
        await self._send(connection, task, "task-finished", {"output": {}, "usage": None})

    async def _result(self, connection: ServerConnection, task: Task, final: bool) -> None:
        words = [
            {"begin_time": at * 100, "end_time": at * 100 + 100, "text": c, "punctuation": ""}
            for at, c in task.open
        ]
        if final:
            words[-1]["punctuation"] = "。"
        sentence = {
            "sentence_id": task.sentences + 1,
            "begin_time": words[0]["begin_time"],
            "end_time": words[-1]["end_time"] if final else None,
            "text": "".join(str(w["text"]) + str(w["punctuation"]) for w in words),
            "sentence_end": final,
            "words": words,
        }
        if final:
            task.sentences += 1
            task.open = []
            task.silent = 0
        await self._send(connection, task, "result-generated", {"output": {"sentence": sentence}})
        if final and self.one_sentence == "by itself":
            await self._finish(connection, task)

    async def _fail(
        self, connection: ServerConnection, task: Task, code: str, message: str
    ) -> None:
        await self._send(
            connection, task, "task-failed", {}, error_code=code, error_message=message
        )
        await connection.close()

    async def _send(
        self,
        connection: ServerConnection,
        task: Task,
        event: str,
        payload: dict[str, Any],
        **more: str,
    ) -> None:
        header = {"task_id": task.task_id, "event": event, **more, "attributes": {}}
        await connection.send(json.dumps({"header": header, "payload": payload}))


async def main() -> None:
    """Serve until killed and print the address: for tests in other languages."""
    async with ScriptedServer() as server:
        print(server.url, flush=True)
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main())
