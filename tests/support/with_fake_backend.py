"""Run a Python command, `main.py`, `-m MODULE` or `-c CODE`, whose server has the fake backend."""

import runpy
import sys
from functools import partial

from asr_server import app
from tests.support.fake_backend import FakeBackend

if __name__ == "__main__":
    app.create_app = partial(app.create_app, load=FakeBackend)
    sys.path.insert(0, "")
    _, *sys.argv = sys.argv
    match sys.argv:
        case ["-m", module, *_]:
            del sys.argv[0]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case ["-c", code, *_]:
            exec(code)
        case [script, *_]:
            runpy.run_path(script, run_name="__main__")
