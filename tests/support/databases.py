"""Databases to test against: PostgreSQL where its server is installed, and a way to lose it."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    from asr_server.vocabularies import Vocabularies

DEBIAN = Path("/usr/lib/postgresql")
"""Debian keeps the server's programs of each version here, outside PATH."""


def program(name: str) -> str | None:
    """Return the path of one of PostgreSQL's programs, of the newest version."""
    versions = sorted(DEBIAN.glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    return shutil.which(name, path=os.pathsep.join([os.environ["PATH"], *map(str, versions)]))


@cache
def missing() -> str:
    """Return why there is no PostgreSQL to test against; empty if there is one."""
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "psycopg is not installed"
    if os.name != "posix" or not program("initdb") or not program("pg_ctl"):
        return "no PostgreSQL server is installed: apt-get install postgresql"
    return ""


def vocabularies(url: str = "sqlite://", limit: int = 10) -> "Vocabularies":
    """Return the hotword lists in a database."""
    from asr_server.database import Database
    from asr_server.settings import Settings
    from asr_server.vocabularies import Vocabularies

    return Vocabularies(Database(Settings(database_url=url)), limit)


class Postgres:
    """A PostgreSQL of its own, on a Unix socket in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._data = directory / "pg"
        self._user = {"user": "postgres"} if os.geteuid() == 0 else {}  # it refuses to run as root
        if self._user:
            shutil.chown(directory, "postgres")
            for parent in [directory, *directory.parents]:
                if parent.owner() == "root" and parent.stat().st_mode & 0o005 != 0o005:
                    parent.chmod(parent.stat().st_mode | 0o055)
        self._run("initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "--no-sync")

    def start(self) -> None:
        """Start the server, and return once it answers."""
        options = f"-c listen_addresses='' -c unix_socket_directories={self.directory} -c fsync=off"
        log = self.directory / "log"
        self._run("pg_ctl", "-D", self._data, "-w", "-l", log, "-o", options, "start")

    def stop(self) -> None:
        """Kill the server: its clients lose their connections."""
        self._run("pg_ctl", "-D", self._data, "-w", "-m", "immediate", "stop")

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the server for a block."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let the server accept connections and answer none of them."""
        postmaster = (self._data / "postmaster.pid").read_text().split()[0]
        listed = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True)
        pairs = [line.split() for line in listed.stdout.splitlines()]
        pids = [int(pid) for pid, parent in pairs if postmaster in (pid, parent)]
        try:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    @property
    def url(self) -> str:
        """Return the URL of the database."""
        return f"postgresql://postgres@/postgres?host={self.directory}"

    def new_schema(self) -> str:
        """Create an empty schema, and return a URL whose tables are in it.

        A database for each test would take much longer to create and to remove.
        """
        name = f"test_{uuid4().hex}"
        self.execute(f"CREATE SCHEMA {name}")
        return f"{self.url}&options=-csearch_path%3D{name}"

    def execute(self, *statements: str, url: str = "") -> Any:
        """Execute statements, each in a transaction of its own; return the last one's value."""
        import psycopg

        with psycopg.connect(url or self.url, autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement)
            return cursor.fetchone()[0] if cursor.description else None

    def _run(self, name: str, *arguments: object) -> None:
        command = [str(program(name)), *map(str, arguments)]
        subprocess.run(command, check=True, capture_output=True, cwd="/", **self._user)


class Relay:
    """A TCP relay to a Unix socket: the address of a database that can move."""

    def __init__(self, target: Path) -> None:
        self.port = 0
        self._target = target
        self._connections: list[tuple[asyncio.StreamWriter, asyncio.Task[None]]] = []

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Relay"]:
        """Relay for a block."""
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await self.cut()
            for writer, _ in self._connections:
                writer.close()

    async def cut(self) -> None:
        """Carry nothing any more on the connections so far, but leave them open."""
        for _, answers in self._connections:
            answers.cancel()
        await asyncio.wait([answers for _, answers in self._connections])

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(self._target)
        answers = asyncio.create_task(_copy(from_server, writer), name="answers")
        self._connections.append((writer, answers))
        with contextlib.suppress(ConnectionError):
            await _copy(reader, to_server)
        to_server.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
