"""The command line in this process: what a user types and reads, without a start of Python.

`tests.support.processes` has the same as a process of its own.
"""

import os
import subprocess
from pathlib import Path
from unittest import mock

import pytest
from typer.testing import CliRunner

from asr_server.cli.main import app
from tests.support.loggers import separate_logging
from tests.support.processes import environment


def asr_server(
    *arguments: str, cwd: Path, stdin: bytes | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end, from a directory without `.env`; raise what it does not catch."""
    with (
        pytest.MonkeyPatch.context() as patch,
        mock.patch.dict(os.environ, environment(**variables), clear=True),
        separate_logging(),
    ):
        patch.chdir(cwd)
        done = CliRunner().invoke(app, arguments, input=stdin, catch_exceptions=False)
    return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)
