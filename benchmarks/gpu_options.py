"""Hold what all parts of `benchmarks.gpu` need: options, the time that is left, models."""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from asr_server.asr.loading.precision import best_dtype
from asr_server.models.registry import EMBEDDED
from benchmarks.full_size import full_size, full_size_second_pass

Figures = dict[str, Any]

RESERVED = 0.15
"""Share of a part's time kept for its start and its last measurement."""


@dataclass(frozen=True, slots=True)
class Options:
    """Hold what every part needs."""

    device: Literal["cpu", "cuda"]
    reduced: bool
    """Whether small models and few sizes are measured, to try the benchmark itself."""
    seconds: float
    """The part's share of the time; it stops early, with the figures it has."""
    dtype: str = "auto"
    began: float = field(default_factory=time.monotonic)

    @property
    def left_s(self) -> float:
        """Return the seconds left to begin measurements in."""
        return self.began + (1 - RESERVED) * self.seconds - time.monotonic()

    @property
    def precision(self) -> str:
        """Return the precision: that given, or what the server chooses."""
        return best_dtype(torch.device(self.device)) if self.dtype == "auto" else self.dtype

    @property
    def model(self) -> Path:
        """Return the streaming model's directory."""
        return EMBEDDED / "asr" if self.reduced else full_size()

    @property
    def second_pass_model(self) -> Path:
        """Return the offline model's directory."""
        return EMBEDDED / "second_pass" if self.reduced else full_size_second_pass()


def write(path: Path, figures: Figures) -> None:
    """Replace a file of figures in one step, so that no reader finds half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", "utf-8")
    beside.replace(path)
