"""What a figure was measured on."""

import os
import platform
import subprocess
from pathlib import Path

import torch


def describe(device: str = "cpu") -> str:
    """One line: processor, cores, instruction sets that matter, GPU if used, versions, commit."""
    capabilities = [
        name
        for name, flag in (("AMX", "amx_tile"), ("AVX512-BF16", "avx512_bf16"), ("VNNI", "vnni"))
        if flag in _cpu_flags()
    ]
    return ", ".join(
        [
            f"{_cpu_name()} ({os.cpu_count()} cores, {'/'.join(capabilities) or 'no AVX512'})",
            *([torch.cuda.get_device_name()] if device == "cuda" else []),
            f"Python {platform.python_version()}",
            f"torch {torch.__version__} on {torch.get_num_threads()} threads",
            f"commit {_commit()}",
        ]
    )


def _cpuinfo(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")


def _cpu_name() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpu_flags() -> str:
    return _cpuinfo("flags")


def _commit() -> str:
    asked = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() or "?"
