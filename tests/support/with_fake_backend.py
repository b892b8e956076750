"""Run a Python command, `main.py` or `-m MODULE`, whose server has the fake backend."""

import runpy
import sys
from functools import partial

from asr_server import app
from tests.support.fake_backend import FakeBackend

if __name__ == "__main__":
    app.create_app = partial(app.create_app, load=FakeBackend)
    sys.path.insert(0, "")
    _, *command = sys.argv
    as_module = command[0] == "-m"
    sys.argv = command[as_module:]
    if as_module:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")
