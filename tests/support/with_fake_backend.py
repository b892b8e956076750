"""Run a Python command, `main.py` or `-m MODULE`; the server of the model "fake" has that backend.

With `--fork-server`, load the packages once, and run each command that comes over the socket on the
standard input in a process of its own: a start of Python with the packages takes 2 s, a fork 10 ms.
"""

import json
import os
import runpy
import signal
import socket
import sys
from functools import partial

import uvicorn  # noqa: F401 - for the forks, as is what app imports

from asr_server import app
from tests.support.fake_backend import FakeBackend


def run(command: list[str]) -> None:
    """Run a command as Python does."""
    if os.environ["ASR_MODEL"] == "fake":
        app.create_app = partial(app.create_app, load=FakeBackend)
    sys.path.insert(0, "")
    sys.argv = command
    if command[0] == "-m":
        del sys.argv[0]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")


def next_command(control: socket.socket) -> list[str]:
    """Return each command in a process of its own; end this process when the socket closes.

    A command comes with its standard error and with a pipe, on which the process that waits for it
    writes its process id and at last its exit status.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        data, fds, _, _ = socket.recv_fds(control, 65_536, 2)
        if not data:
            raise SystemExit
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            stderr, pipe = fds
            if child := os.fork():
                os.write(pipe, f"{child}\n".encode())
                _, status = os.waitpid(child, 0)
                os.write(pipe, f"{os.waitstatus_to_exitcode(status)}\n".encode())
                os._exit(0)
            control.detach()  # its descriptor becomes the standard input
            nothing = os.open(os.devnull, os.O_RDWR)
            for source, target in ((nothing, 0), (nothing, 1), (stderr, 2)):
                os.dup2(source, target)
            for each in (nothing, stderr, pipe):
                os.close(each)
            request = json.loads(data)
            os.environ.clear()
            os.environ.update(request["environment"])
            command: list[str] = request["command"]
            return command
        for each in fds:
            os.close(each)


if __name__ == "__main__":
    _, *arguments = sys.argv
    if arguments == ["--fork-server"]:
        arguments = next_command(socket.socket(fileno=0))
    run(arguments)
