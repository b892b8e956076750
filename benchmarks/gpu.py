"""Prove the server on a GPU: tests, parity, step times, memory, second pass, streams.

    python -m benchmarks.gpu                            writes benchmarks/results/gpu.json
    python -m benchmarks.gpu --device cpu --reduced     tries every part on a CPU, small

Within `--minutes`: each part has a share and stops early, and time that a part leaves is left to
the later ones. A part that fails is recorded with its error, and the next one runs. A second start
runs only what is missing or failed for the same commit and device. The exit status is 1 if a part
failed, if a test did, or if the text differs from the CPU's.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks import gpu_report
from benchmarks.environment import commit, describe, processor
from benchmarks.gpu_options import Figures, write
from benchmarks.precision import PRECISIONS
from benchmarks.report import PLOTS, table

RESULTS = Path("benchmarks/results/gpu.json")
FOLDER = Path("build/gpu")
SHARES = {
    "weights": 4,
    "tests": 4,
    "parity": 3,
    "steps": 3,
    "memory": 2,
    "second_pass": 2,
    "streams": 5,
}
"""The parts in their order, each with its share of the time that is left."""

ERROR = re.compile(r"[\w.]+(Error|Exception|Interrupt|Expired)\b")
"""The line of a log that names an exception."""

console = Console(width=110, highlight=False)


def main(
    device: Annotated[str, typer.Option(help="`cuda`, or `cpu` to try the benchmark.")] = "cuda",
    minutes: Annotated[float, typer.Option(help="Time for all parts.", min=0.1)] = 8.0,
    reduced: Annotated[bool, typer.Option(help="Small models, few sizes, short runs.")] = False,
    dtype: Annotated[str, typer.Option(help="`auto` takes what the server takes.")] = "auto",
    only: Annotated[str, typer.Option(help="Only these parts, by commas, again.")] = "",
    to: Annotated[Path | None, typer.Option(help="The file of results.")] = None,
) -> None:
    """Measure every part that the file does not have, and show the figures."""
    until = time.monotonic() + 60 * minutes
    if error := unusable(device, only, dtype):
        console.print(error)
        raise typer.Exit(2)
    path = to or (FOLDER / "reduced.json" if reduced else RESULTS)
    figures = kept(path, {"commit": commit(), "device": device_name(device), "reduced": reduced})
    names = only.split(",") if only else missing(figures)
    if names:
        figures["environment"] = describe(device)
    options = {"device": device, "reduced": reduced, "dtype": dtype}
    with progress(len(names)) as step:
        for number, name in enumerate(names):
            step(name)
            shares = [SHARES[each] for each in names[number:]]
            seconds = (until - time.monotonic()) * shares[0] / sum(shares)
            figures["parts"][name] = run_part(name, {**options, "seconds": seconds})
            write(path, figures)
    plot = PLOTS / "gpu.png" if path == RESULTS else path.with_suffix(".png")
    gpu_report.draw(figures, plot)
    console.print(Markdown("\n\n".join(gpu_report.parts(figures, table, plot.name))))
    console.print(f"written: {path}, {plot}")
    found = problems(figures)
    for problem in found:
        console.print(f"[red]{problem}[/red]")
    raise typer.Exit(1 if found else 0)


def unusable(device: str, only: str, dtype: str = "auto") -> str:
    """Return a sentence if the options cannot be used here."""
    if device not in PRECISIONS:
        return f"--device is cuda or cpu, not {device}."
    if dtype not in {"auto", *PRECISIONS[device]}:
        return f"--dtype is auto or {', '.join(PRECISIONS[device])}, not {dtype}."
    if unknown := {name for name in only.split(",") if name} - SHARES.keys():
        return f"--only names {', '.join(unknown)}; the parts are {', '.join(SHARES)}."
    if device == "cuda" and not torch.cuda.is_available():
        return "PyTorch finds no CUDA device; nvidia-smi and a CUDA build of PyTorch are needed."
    return ""


def device_name(device: str) -> str:
    """Return the name of the GPU or of the processor."""
    return torch.cuda.get_device_name() if device == "cuda" else processor()


def kept(path: Path, of: Figures) -> Figures:
    """Return the figures in the file, if they are those of the same commit and device."""
    found: Figures = json.loads(path.read_text("utf-8")) if path.exists() else {}
    same = all(found.get(key) == value for key, value in of.items())
    return found if same else {**of, "parts": {}}


def missing(figures: Figures) -> list[str]:
    """Return the parts without figures, and those that failed."""
    parts = figures["parts"]
    return [name for name in SHARES if name not in parts or "error" in parts[name]]


def run_part(name: str, options: dict[str, Any]) -> Figures:
    """Run a part in a process of its own, and return its figures and its error, if any."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    to, log_path = FOLDER / f"{name}.json", FOLDER / f"{name}.log"
    to.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.gpu_parts", name, json.dumps(options), str(to)]
    began, error = time.monotonic(), ""
    with log_path.open("w", encoding="utf-8") as log:
        try:
            limit = max(1.0, options["seconds"])
            subprocess.run(command, stdout=log, stderr=log, check=True, timeout=limit)
        except subprocess.TimeoutExpired:
            error = f"stopped after its share of the time, {limit:.0f} s"
        except subprocess.CalledProcessError as exc:
            lines = log_path.read_text("utf-8", errors="replace").strip().splitlines()
            errors = [line for line in lines if ERROR.match(line)]
            error = [f"ended with status {exc.returncode}", *lines[-1:], *errors[-1:]][-1]
    figures: Figures = json.loads(to.read_text("utf-8")) if to.exists() else {}
    if error:
        figures["error"] = f"{error} (log: {log_path})"
    return {**figures, "took_s": time.monotonic() - began, "ended": time.strftime("%F %H:%M")}


def problems(figures: Figures) -> list[str]:
    """Return a sentence for every part that failed."""
    found = []
    for name, part in figures["parts"].items():
        if "error" in part:
            found.append(f"{name}: {part['error']}")
        elif not part.get("ok", True):
            found.append(
                f"tests: {part['summary']}"
                if name == "tests"
                else f"{name}: the text differs from that of float32 on the CPU"
            )
    return found


@contextmanager
def progress(parts: int) -> Iterator[Any]:
    """Show which part runs; yields a function that takes the name of the next one."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=parts)
        begun: list[str] = []

        def step(name: str) -> None:
            bar.update(task, description=name, completed=len(begun))
            begun.append(name)

        yield step
        bar.update(task, description="done", completed=parts)


if __name__ == "__main__":
    typer.run(main)
