"""One client: sends a recording as a microphone would, and stamps what arrives.

Every frame has its due time, the start plus a whole number of frames, whatever happened to those
before it (an open-loop load). So a server that stops reading delays its own answers only.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from asr_client.connection import Task, open_websocket
from asr_client.errors import AsrError, ProtocolError, ServerBusy
from asr_client.protocol import DEFAULT_MODEL, parse_sentence
from asr_server.load.recordings import FRAME_S, Recording
from asr_server.load.task_record import Result, TaskRecord

REFUSING = (429, 503)
"""HTTP statuses of a server without capacity."""


@dataclass(frozen=True, slots=True)
class Target:
    """A server, the request, and the pace of the audio."""

    url: str
    api_key: str | None = None
    model: str = DEFAULT_MODEL
    parameters: Mapping[str, Any] = field(default_factory=dict)
    pace: float = 1.0
    """Seconds of audio in a second; 0 for as fast as the socket takes it."""
    timeout_s: float = 30.0
    """How long an answer may take before the task counts as lost."""

    def task_parameters(self, recording: Recording) -> dict[str, Any]:
        """Return the parameters of a task with this recording."""
        audio = {"format": recording.format, "sample_rate": recording.sample_rate}
        return {**self.parameters, **audio}


async def run_client(
    target: Target,
    recording: Recording,
    until: float | None = None,
    abort_after: int | None = None,
    records: list[TaskRecord] | None = None,
) -> TaskRecord:
    """Run one task on a connection of its own; failures of the server are in the record.

    The record is appended to `records` at once and grows there. After `until` on the loop's clock
    no more audio is sent and the task is finished; one frame is always sent. `abort_after` cuts
    the connection after that many frames without a close frame.
    """
    clock = asyncio.get_running_loop().time
    record = TaskRecord(recording, clock())
    if records is not None:
        records.append(record)
    try:
        socket = await open_websocket(
            target.url, target.api_key, target.timeout_s, ping_interval_s=None
        )
        async with socket:
            await _run_task(socket, target, record, until, abort_after)
    except InvalidStatus as exc:
        record.error = f"HTTP {exc.response.status_code}"
        record.refused = exc.response.status_code in REFUSING
    except ProtocolError:
        record.error = "not the protocol"
    except AsrError as exc:
        record.error = exc.code or "task-failed"
        record.refused = isinstance(exc, ServerBusy)
    except ConnectionClosed as exc:
        record.error = f"closed with {exc.rcvd.code if exc.rcvd else 1006}"
    except asyncio.TimeoutError:
        record.error = "no answer"
    except (OSError, InvalidHandshake) as exc:
        record.error = f"no connection ({type(exc).__name__})"
    record.ended = record.ended or clock()
    return record


async def _run_task(
    socket: ClientConnection,
    target: Target,
    record: TaskRecord,
    until: float | None,
    abort_after: int | None,
) -> None:
    """Run one task on an open connection and fill its record."""
    clock = asyncio.get_running_loop().time
    task = Task(socket)
    await task.start(target.model, target.task_parameters(record.recording), target.timeout_s)
    record.began = clock()

    async def receive() -> None:
        async for output in task.results():
            now = clock()
            if sentence := parse_sentence(output):
                record.results.append(Result(now, sentence.text, sentence.is_final))

    async def send() -> None:
        frame_s = FRAME_S / target.pace if target.pace else 0.0
        free = record.began
        for number, frame in enumerate(record.recording.frames, start=1):
            due = record.began + number * frame_s
            over = until is not None and due > until
            if record.sent == abort_after or (record.sent and over):
                return
            if (wait := due - clock()) > 0:
                await asyncio.sleep(wait)
            if receiving.done():
                receiving.result()
                return
            if target.pace:
                record.late.append((due, clock() - max(due, free)))
            await task.send(frame)
            free = clock()
            record.sent = number

    receiving = asyncio.create_task(receive(), name="receive")
    try:
        await send()
        if record.sent == abort_after:
            socket.transport.abort()
            return
        record.finish_sent = clock()
        await task.finish()
        await asyncio.wait({receiving}, timeout=target.timeout_s)
        if not receiving.done():
            raise asyncio.TimeoutError
        receiving.result()
        record.ended = clock()
    except ConnectionClosed:
        if receiving.done() and not receiving.cancelled():
            receiving.result()  # raises the reason, if the server sent one
        raise
    finally:
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)
