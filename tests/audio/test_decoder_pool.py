"""A decoder process has no rights, dies alone, and never outlives its stream or its server."""

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from asr_server.audio.decode import Decoder
from asr_server.audio.decoder_pool import ForkPool, Process, SpawnPool
from asr_server.audio.decoder_process import FRAME, Kind
from asr_server.errors import DecodeError, InternalError
from tests.support.attacks import media
from tests.support.decoding import decode_stream, processes
from tests.support.encoding import RATE, encode

TONE = (9000 * np.sin(np.arange(2 * RATE) * 0.2)).astype(np.int16)
linux = pytest.mark.skipif(sys.platform != "linux", reason="the fork server is for Linux")


@pytest.fixture(scope="module")
def mp3() -> bytes:
    return encode(TONE, "mp3")


@pytest.fixture(scope="module", params=[pytest.param(ForkPool, marks=linux), SpawnPool])
def pool(request):
    pool = request.param()
    pool.start()
    yield pool
    pool.close()


@pytest.fixture
def fork_pool():
    pool = ForkPool()
    yield pool
    pool.close()


async def feed(decoder: Decoder, data: bytes) -> int:
    """Return how many samples came."""
    return sum([len(part) async for part in decoder.feed(data)])


def ended(process: int) -> bool:
    """Return whether a process has ended, after at most five seconds."""
    status = Path(f"/proc/{process}/stat")
    for _ in range(500):
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.01)
    return False


async def test_every_start_method_decodes(pool, mp3):
    assert abs(len(await decode_stream([mp3], "mp3", pool=pool)) - len(TONE)) < 1700


@linux
async def test_streams_are_decoded_side_by_side(fork_pool, mp3):
    decoded = await asyncio.gather(*(decode_stream([mp3], "mp3", pool=fork_pool) for _ in range(5)))
    assert len({len(samples) for samples in decoded}) == 1


async def test_a_process_that_dies_fails_its_own_stream_only(pool, mp3, caplog):
    victim, other = Decoder("mp3", RATE, pool), Decoder("mp3", RATE, pool)
    assert await feed(victim, mp3[:3000])
    assert await feed(other, mp3[:3000])
    kill(pool, victim)
    with pytest.raises(DecodeError, match="damaged, or exceeds"):
        await feed(victim, mp3[3000:])
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert await feed(other, mp3[3000:])
    victim.close()
    other.close()


def kill(pool, decoder: Decoder) -> None:
    """Kill the process of a decoder as an overload of memory would."""
    if isinstance(pool, ForkPool):
        first = min(int(p) for p in children(pool))
        os.kill(first, signal.SIGKILL)
    else:
        decoder._chosen._process.kill()


def environment(pool: ForkPool) -> bytes:
    return Path(f"/proc/{pool.server_id}/environ").read_bytes()


def children(pool: ForkPool) -> list[str]:
    return Path(f"/proc/{pool.server_id}/task/{pool.server_id}/children").read_text().split()


@pytest.mark.parametrize(("kind", "length"), [(9, 0), (Kind.SAMPLES, 2**32 - 1), (Kind.SAMPLES, 3)])
async def test_nonsense_from_a_decoder_process_fails_its_stream(kind, length, mp3, caplog):
    ours, theirs = socket.socketpair()
    theirs.send(FRAME.pack(Kind.READY, 0.0, 0) + FRAME.pack(kind, 0.0, length))

    class Nonsense:
        async def open(self) -> Process:
            return Process(ours, lambda: None, lambda: asyncio.sleep(0))

    with theirs, pytest.raises(DecodeError, match="its decoder failed"):
        await decode_stream([mp3], "mp3", pool=Nonsense())
    assert "sends nonsense" in caplog.text


async def test_streams_that_come_and_go_leave_nothing(pool, mp3):
    await decode_stream([mp3], "mp3", pool=pool)
    files = Path("/proc/self/fd") if sys.platform == "linux" else Path(os.devnull)
    before = len(os.listdir(files)) if files.is_dir() else 0
    threads = threading.active_count()
    for number in range(50 if isinstance(pool, ForkPool) else 2):
        decoder = Decoder("mp3", RATE, pool)
        await feed(decoder, mp3[: 100 * number])
        decoder.close()
        decoder.close()
    await asyncio.sleep(0)
    assert processes(pool) == []
    assert threading.active_count() <= threads + 1  # asyncio's own
    if files.is_dir():
        assert len(os.listdir(files)) <= before + 4  # the spares that are being started


@linux
async def test_closing_a_stream_ends_its_process_at_once_even_if_it_is_busy(fork_pool):
    decoder = Decoder("flac", RATE, fork_pool)
    task = asyncio.create_task(feed(decoder, media.slow_flac(2) * 50))
    for _ in range(500):
        if fork_pool.server_id and children(fork_pool):
            break
        await asyncio.sleep(0.01)
    decoder.close()
    task.cancel()
    assert processes(fork_pool) == []
    await asyncio.gather(task, return_exceptions=True)


@linux
async def test_a_fork_server_that_died_is_started_again(fork_pool, mp3, caplog):
    decoder = Decoder("mp3", RATE, fork_pool)
    await feed(decoder, mp3[:3000])
    [child] = children(fork_pool)
    os.kill(fork_pool.server_id, signal.SIGKILL)
    assert ended(int(child))
    with pytest.raises(InternalError):
        await feed(decoder, mp3[3000:])
    decoder.close()
    assert len(await decode_stream([mp3], "mp3", pool=fork_pool)) > RATE
    assert "fork server died" in caplog.text


@linux
def test_no_process_outlives_a_server_that_is_killed():
    code = (
        "import asyncio, sys, time\n"
        "from asr_server.audio.decoder_pool import ForkPool\n"
        "from asr_server.audio.decode import Decoder\n"
        "async def main():\n"
        "    pool = ForkPool()\n"
        "    decoder = Decoder('mp3', 16000, pool)\n"
        "    async for _ in decoder.feed(b'ID3' + bytes(500)): pass\n"
        "    print(pool.server_id, flush=True)\n"
        "    time.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen([sys.executable, "-c", code], stdout=-1, env=environment) as server:
        fork_server = int(server.stdout.readline())
        tasks = Path(f"/proc/{fork_server}/task/{fork_server}/children")
        [child] = tasks.read_text().split()
        server.kill()
        assert ended(fork_server)
        assert ended(int(child))


@linux
@pytest.mark.parametrize(
    "attempt",
    [
        "open('/etc/hostname')",
        "__import__('socket').socket()",
        "__import__('subprocess').run(['true'])",
        "bytearray(64 << 20)",
    ],
    ids=["file", "network", "program", "memory"],
)
def test_a_decoder_process_can_only_decode(attempt):
    code = (
        "import socket, subprocess\n"
        "from asr_server.audio.decoder_process import confine, warm_up\n"
        f"warm_up(); confine(forked=False)\ntry: {attempt}\n"
        "except (OSError, MemoryError): pass\nelse: raise SystemExit('it could')"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@linux
def test_a_decoder_that_hangs_in_one_piece_is_ended_by_the_system():
    code = (
        "from asr_server.audio import decoder_process\n"
        "decoder_process.STALL_CPU_S = 0\n"
        "decoder_process._limit_stall()\n"
        "while True: pass\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], env=environment)
    assert done.returncode == -signal.SIGXCPU


@linux
async def test_decoders_inherit_no_secret_and_yield_to_the_recogniser(fork_pool, monkeypatch, mp3):
    monkeypatch.setenv("ASR_API_KEYS", "secret-key")
    monkeypatch.setenv("PGPASSWORD", "secret-key")
    decoder = Decoder("mp3", RATE, fork_pool)
    await feed(decoder, mp3[:3000])
    assert b"secret-key" not in environment(fork_pool)
    [child] = children(fork_pool)
    assert os.getpriority(os.PRIO_PROCESS, int(child)) > os.getpriority(os.PRIO_PROCESS, 0)
    decoder.close()
