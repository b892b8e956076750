"""Keep how many live streams a machine holds with a model, for autoscaling and admission.

Three sources, the first that is known counts: `ASR_CAPACITY`; what `asr-server bench --save`
measured on this machine with this model, device and precision; the estimate from the warm-up.
"""

import json
import os
import platform
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

Source = Literal["set", "measured", "estimated"]


@dataclass(frozen=True, slots=True)
class Capacity:
    """Hold a number of live streams and where it comes from."""

    streams: int
    source: Source

    @property
    def enforced(self) -> bool:
        """Return whether admission refuses further streams: an estimate only informs."""
        return self.source != "estimated"


@dataclass(frozen=True, slots=True)
class Setup:
    """Hold what a measured capacity depends on."""

    model: str
    device: str
    dtype: str
    machine: str

    @classmethod
    def here(cls, model: str, device: str, dtype: str) -> "Setup":
        """Return the setup of a model on this machine."""
        return cls(model, device, dtype, this_machine())


def this_machine() -> str:
    """Return the processor and the number of its cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{_processor()}, {cores} cores"


def measured(file: Path, setup: Setup) -> int | None:
    """Return the capacity saved for a setup, or None.

    Raises ValueError, with a sentence for the operator, for a file that is not one of `save`.
    """
    return next((one["streams"] for one in _read(file) if _setup(one) == setup), None)


def save(file: Path, setup: Setup, streams: int) -> None:
    """Save a measured capacity; it replaces an older one of the same setup."""
    others = [one for one in _read(file) if _setup(one) != setup]
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    entry = {**asdict(setup), "streams": streams, "measured_at": now}
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(".new")
    draft.write_text(json.dumps([*others, entry], indent=1) + "\n", encoding="utf-8")
    draft.replace(file)  # a server that starts now reads the old file or the new one


def _read(file: Path) -> list[dict[str, Any]]:
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
        return [{**one, "streams": max(1, int(one["streams"]))} for one in entries]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} holds no measured capacity ({type(error).__name__})") from error


def _setup(entry: dict[str, Any]) -> Setup:
    return Setup(*(str(entry.get(name, "")) for name in ("model", "device", "dtype", "machine")))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
