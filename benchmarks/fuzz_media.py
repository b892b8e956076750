"""Push thousands of damaged media files through the decoder processes, and report what is left.

    python -m benchmarks.fuzz_media --files 20000

Exit status 1 if a file hung, gave a sample that is not finite or in [-1, 1], or failed with
anything but DecodeError, and if a process or descriptor is left. (asyncio starts a few threads.)
"""

import asyncio
import logging
import os
import random
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from asr_server.audio.decode import DEMUXERS, UNCOMPRESSED
from asr_server.audio.decoder_pool import ForkPool
from asr_server.errors import DecodeError
from tests.support.attacks.damage import random_edit, valid_files
from tests.support.decoding import decode_stream, processes

HANG_S = 30
FORMATS = [*UNCOMPRESSED, *DEMUXERS]


class Deaths(logging.Handler):
    """Count how decoder processes died."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        self.kinds[f"{record.__dict__.get('status')} in {record.__dict__.get('demuxer')}"] += 1


async def attempt(pool: ForkPool, number: int, seed: int) -> str:
    """Decode one damaged file and return what became of it."""
    source = random.Random(f"{seed} {number}")
    name = source.choice(sorted(valid_files()))
    data = valid_files()[name]
    for _ in range(source.randrange(5)):
        data = random_edit(source).apply(data)
    size = source.choice([100, 1000, 5000, 100_000])
    pieces = [data[begin : begin + size] for begin in range(0, len(data), size)]
    try:
        decoding = decode_stream(pieces, source.choice(FORMATS), pool=pool)
        samples = await asyncio.wait_for(decoding, HANG_S)
    except DecodeError:
        return "DecodeError"
    except asyncio.TimeoutError:
        return f"hung: file {number}"
    except Exception as error:
        return f"{type(error).__name__}: file {number}"
    whole = bool(np.isfinite(samples).all()) and bool((np.abs(samples) <= 1.0).all())
    return "samples" if whole else f"samples out of range: file {number}"


async def run(files: int, at_once: int, seed: int) -> bool:
    """Decode all files and print the report; return whether nothing was wrong."""
    pool = ForkPool()
    pool.start()
    deaths = Deaths()
    logger = logging.getLogger("asr_server.audio.remote_decoder")
    logger.addHandler(deaths)
    logger.propagate = False
    for number in range(200):
        await attempt(pool, number, seed)  # loads what is loaded once
    assert pool.server_id is not None
    before = (rss(), rss(pool.server_id), count_files(), threading.active_count())
    outcomes: Counter[str] = Counter()
    numbers = iter(range(files))

    async def work() -> None:
        for number in numbers:
            outcomes[await attempt(pool, number, seed)] += 1

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(at_once)))
    took_s = time.perf_counter() - began
    left = processes(pool)
    after = (rss(), rss(pool.server_id), count_files(), threading.active_count())
    pool.close()
    print(
        f"{files} files, {at_once} at once, {took_s:.0f} s, {1000 * took_s / files:.1f} ms a file"
    )
    for outcome, count in outcomes.most_common():
        print(f"  {outcome}: {count}")
    print(f"  decoder processes that died: {dict(deaths.kinds) or 'none'}")
    print(f"  processes left: {len(left)}")
    for name, first, last in zip(("RSS", "fork server's RSS"), before, after, strict=False):
        print(f"  {name}: {first / 1024:.1f} -> {last / 1024:.1f} MB")
    print(f"  descriptors: {before[2]} -> {after[2]}, threads: {before[3]} -> {after[3]}")
    return not left and after[2] <= before[2] and set(outcomes) <= {"samples", "DecodeError"}


def count_files() -> int:
    """Return how many descriptors this process has open."""
    return len(os.listdir(Path("/proc/self/fd")))


def rss(process: int | str = "self") -> int:
    """Return the resident memory of a process in kB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def main(
    files: Annotated[int, typer.Option(help="Damaged files.")] = 20_000,
    at_once: Annotated[int, typer.Option(help="Streams at the same time.")] = 4,
    seed: Annotated[int, typer.Option(help="Another seed damages the files differently.")] = 1,
) -> None:
    """Push damaged media files through the decoder processes."""
    raise SystemExit(not asyncio.run(run(files, at_once, seed)))


if __name__ == "__main__":
    typer.run(main)
