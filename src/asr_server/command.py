"""Know how the commands of this installation are typed in the current directory."""

import shutil
import sys
from pathlib import Path


def asr_server() -> str:
    """Return what starts `asr-server` here, such as `venv/bin/asr-server`."""
    return _typed("asr-server") or f"{python()} -m asr_server"


def python() -> str:
    """Return what starts this Python here, such as `venv/bin/python`."""
    return _typed(Path(sys.executable).name) or sys.executable


def _typed(name: str) -> str | None:
    """Return the shortest form of a program beside this Python, or None if it is not there."""
    folder = Path(sys.executable).parent
    file = next((f for f in (folder / name, folder / f"{name}.exe") if f.is_file()), None)
    if file is None:
        return None
    if (found := shutil.which(name)) and Path(found) == file:
        return name
    if file.is_relative_to(Path.cwd()):
        file = file.relative_to(Path.cwd())
    return str(file.with_suffix("") if file.suffix == ".exe" else file)
