"""Runs every check that needs no running program: style, types, layers, documents, web, image.

`make check` calls it. Checks run side by side, one per core; the output of each is printed as a
whole. A check whose program is not installed is reported as not run and does not fail.
"""

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WEB = ROOT / "clients" / "web"
BIN = Path(sys.executable).parent
CHART = "deploy/helm/asr-server"
RELEASE = ".github/workflows/release.yml"
NPM_INSTALL = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"]


@dataclass(frozen=True)
class Check:
    """A command, where it runs, and how to get its program."""

    name: str
    command: tuple[str, ...]
    folder: Path = ROOT
    source: str = "make setup"


CHECKS = (  # the longest first
    Check("types", ("mypy",)),
    Check("web clients", ("npm", "run", "--silent", "check"), WEB, "install Node.js"),
    Check("layers", ("lint-imports",)),
    Check("style", ("ruff", "check", ".")),
    Check("formatting", ("ruff", "format", "--check", ".")),
    Check("documents", (sys.executable, "-m", "tools.check_documents")),
    Check(
        "workflow",
        ("check-jsonschema", "--builtin-schema", "vendor.github-workflows", RELEASE),
    ),
    Check("Helm chart", ("helm", "lint", "--quiet", "--strict", CHART), source="https://helm.sh"),
    Check("Dockerfile", ("hadolint", "Dockerfile"), source="only for Linux on x86-64"),
)


@dataclass(frozen=True)
class Outcome:
    """What a check found: an exit status, or none if it could not run."""

    check: Check
    status: int | None
    output: str
    seconds: float = 0.0


def run(check: Check) -> Outcome:
    """Run one check and return its outcome."""
    program = shutil.which(check.command[0], path=f"{BIN}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        return Outcome(check, None, f"{check.command[0]} is not installed ({check.source})\n")
    if check.folder == WEB and not (WEB / "node_modules").exists():
        installed = subprocess.run(NPM_INSTALL, cwd=WEB, capture_output=True, text=True)
        if installed.returncode != 0:
            return Outcome(check, None, "npm reaches no registry\n")
    began = time.monotonic()
    done = subprocess.run(
        [program, *check.command[1:]],
        cwd=check.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )
    return Outcome(check, done.returncode, done.stdout, time.monotonic() - began)


def main() -> int:
    """Run all checks; return 1 if one of them failed."""
    failed = False
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for outcome in pool.map(run, CHECKS):
            name, status = outcome.check.name, outcome.status
            verdict = "not run" if status is None else "failed" if status else "ok"
            print(f"{name}: {verdict} ({outcome.seconds:.1f} s)")
            if status != 0:
                print(outcome.output, end="", flush=True)
            failed |= status not in (0, None)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
