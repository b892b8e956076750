"""One client: says a recording as a microphone would, and notes when what arrives.

Every message has its moment, the start plus a whole number of frames, whatever happened to those
before it. So a server that stops reading makes its own answers late, and not the questions.
"""

import asyncio
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from asr_server.load.account import Account, Shown
from asr_server.load.recordings import FRAME_S, Recording
from asr_server.protocol import requests

REFUSING = (429, 503)
"""HTTP statuses by which a server says that it is full."""


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to speak to, and what is asked for."""

    url: str
    api_key: str | None = None
    model: str = "paraformer-realtime-v2"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    pace: float = 1.0
    """Seconds of sound in a second; 0 as many as the socket takes."""
    patience_s: float = 30.0
    """How long it may take to answer before the task counts as lost."""


class TaskFailed(Exception):
    """The server said task-failed; the argument is its code."""


async def speak(
    target: Target,
    recording: Recording,
    until: float | None = None,
    vanish_after: int | None = None,
    accounts: list[Account] | None = None,
) -> Account:
    """One task on a connection of its own; never raises what a server can be blamed for.

    The account is put into `accounts` at once and grows there. After `until` on the loop's clock no
    more is said, and the task is finished; one frame is always sent. `vanish_after` cuts the
    connection after that many frames, without a word.
    """
    clock = asyncio.get_running_loop().time
    account = Account(recording, clock())
    if accounts is not None:
        accounts.append(account)
    try:
        async with _connected(target) as socket:
            await _speak(socket, target, account, until, vanish_after)
    except InvalidStatus as exc:
        account.error = f"HTTP {exc.response.status_code}"
        account.refused = exc.response.status_code in REFUSING
    except TaskFailed as exc:
        account.error = str(exc)
        account.refused = account.error.startswith("Throttling")
    except ConnectionClosed as exc:
        code = exc.rcvd.code if exc.rcvd else 1006
        account.error = f"closed with {code}"
    except asyncio.TimeoutError:
        account.error = "no answer"
    except (OSError, InvalidHandshake) as exc:
        account.error = f"no connection ({type(exc).__name__})"
    except (KeyError, TypeError, ValueError):
        account.error = "not the protocol"
    account.ended = account.ended or clock()
    return account


def _connected(target: Target) -> connect:
    headers = {"Authorization": f"bearer {target.api_key}"} if target.api_key else {}
    return connect(
        target.url,
        additional_headers=headers,
        compression=None,
        max_size=None,
        open_timeout=target.patience_s,
        close_timeout=1,
        ping_interval=None,
    )


async def _speak(
    socket: ClientConnection,
    target: Target,
    account: Account,
    until: float | None,
    vanish_after: int | None,
) -> None:
    clock = asyncio.get_running_loop().time
    task_id = uuid.uuid4().hex
    await socket.send(run_task(task_id, account.recording, target))
    while await _event(socket, target.patience_s) != "task-started":
        pass
    account.began = clock()
    listening = asyncio.create_task(_listen(socket, account), name="listen")
    try:
        await _send(socket, target, account, until, vanish_after, listening)
        if account.sent == vanish_after:
            socket.transport.abort()
            return
        account.asked = clock()
        await socket.send(requests.finish_task(task_id))
        await asyncio.wait({listening}, timeout=target.patience_s)
        if not listening.done():
            raise asyncio.TimeoutError
        listening.result()
        account.ended = clock()
    except ConnectionClosed:
        if listening.done() and not listening.cancelled():
            listening.result()  # says why, if the server did
        raise
    finally:
        listening.cancel()
        await asyncio.wait({listening})
        if not listening.cancelled():
            listening.exception()


async def _send(
    socket: ClientConnection,
    target: Target,
    account: Account,
    until: float | None,
    vanish_after: int | None,
    listening: asyncio.Task[None],
) -> None:
    clock = asyncio.get_running_loop().time
    frame_s = FRAME_S / target.pace if target.pace else 0.0
    free = account.began
    for number, frame in enumerate(account.recording.frames, start=1):
        due = account.began + number * frame_s
        if account.sent == vanish_after or (account.sent and until is not None and due > until):
            return
        if (wait := due - clock()) > 0:
            await asyncio.sleep(wait)
        if listening.done():
            listening.result()
            return
        if target.pace:
            account.late.append((due, clock() - max(due, free)))
        await socket.send(frame)
        free = clock()
        account.sent = number


async def _listen(socket: ClientConnection, account: Account) -> None:
    clock = asyncio.get_running_loop().time
    async for text in socket:
        now = clock()
        message = json.loads(text)
        header = message["header"]
        if header["event"] == "task-failed":
            raise TaskFailed(header.get("error_code") or "task-failed")
        if header["event"] == "task-finished":
            return
        output = message["payload"].get("output") or {}
        sentence = output.get("sentence") or output.get("transcription")
        if sentence and not sentence.get("heartbeat"):
            final = sentence["end_time"] is not None
            number = sentence.get("sentence_id") or 0
            account.shown.append(Shown(now, number, sentence["text"], final))
    raise TaskFailed(f"closed with {socket.close_code}")


async def _event(socket: ClientConnection, patience_s: float) -> str:
    header = json.loads(await asyncio.wait_for(socket.recv(), patience_s))["header"]
    if header["event"] == "task-failed":
        raise TaskFailed(header.get("error_code") or "task-failed")
    return str(header["event"])


def run_task(task_id: str, recording: Recording, target: Target) -> str:
    """The message that begins a task."""
    sound = {"format": recording.format, "sample_rate": recording.sample_rate}
    return requests.run_task(task_id, target.model, {**target.parameters, **sound})
