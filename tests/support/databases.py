"""Databases to test against: a SQLite file, and PostgreSQL where its server is installed."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HAS_POSTGRES = shutil.which("initdb") is not None and shutil.which("pg_ctl") is not None


@contextmanager
def postgres(directory: Path) -> Iterator[str]:
    """A PostgreSQL of its own, on a Unix socket in `directory`; its URL."""
    data = directory / "pg"
    user = {"user": "postgres"} if os.geteuid() == 0 else {}  # it refuses to run as root
    if user:
        shutil.chown(directory, "postgres")
        for parent in [directory, *directory.parents]:
            if parent.owner() == "root" and parent.stat().st_mode & 0o005 != 0o005:
                parent.chmod(parent.stat().st_mode | 0o055)
    run(["initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync"], user)
    options = f"-c listen_addresses='' -c unix_socket_directories={directory} -c fsync=off"
    run(["pg_ctl", "-D", data, "-w", "-l", directory / "log", "-o", options, "start"], user)
    try:
        yield f"postgresql+psycopg://postgres@/postgres?host={directory}"
    finally:
        run(["pg_ctl", "-D", data, "-w", "-m", "immediate", "stop"], user)


def run(command: list[object], user: dict[str, str]) -> None:
    subprocess.run([*map(str, command)], check=True, capture_output=True, cwd="/", **user)
