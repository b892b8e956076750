"""Train the demo model within a budget of wall-clock time, resumable, on two processor cores."""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from . import losses
from .batches import POINTS, Loader, collate
from .dataset import DEV_SETS, Item, Shard, statistics
from .features import Normaliser
from .model import DemoModel
from .scoring import Score, score
from .streaming_layout import OperatingPoint

_ON_TERMINAL = Console().is_terminal

FAST_BFLOAT16 = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
"""Without instructions for them, products in bfloat16 are fifty times slower than in float32."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything about a run that is not data."""

    seconds: float = 3000.0
    positions: int = 5000
    peak: float = 1.5e-3
    warmup: int = 250
    flat: float = 0.25  # share of the time at the peak rate, then linear to 1 %
    weight_decay: float = 0.01
    clip: float = 2.0
    sampler: tuple[float, float] = (0.0, 0.5)  # before and after `settled`
    settled: float = 0.4  # share of the time
    frames_until: float = 0.6  # share of the time that the frame classifier helps
    average: float = 0.998
    checkpoint_every: float = 180.0
    second_share: float = 0.15  # of batches at the second operating point
    seed: int = 1
    threads: int = 2

    def rate(self, step: int, elapsed: float) -> float:
        share = elapsed / self.seconds
        if share < self.flat:
            slope = 1.0
        else:
            slope = max(0.01, 1 - 0.99 * (share - self.flat) / (1 - self.flat))
        return self.peak * slope * min(1.0, (step + 1) / self.warmup)


@torch.inference_mode()
def evaluate(
    model: DemoModel,
    items: list[Item],
    normaliser: Normaliser,
    point: OperatingPoint | None = POINTS[0],
    fast: bool = False,
) -> Score:
    """Character errors of greedy decoding over recordings, in batches of similar length."""
    order = sorted(range(len(items)), key=lambda index: len(items[index].features))
    total = Score()
    for start in range(0, len(order), 40):
        chosen = [items[index] for index in order[start : start + 40]]
        batch = collate(chosen, normaliser, point)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=fast and FAST_BFLOAT16):
            texts = model.transcribe(batch.layout)
        for item, read in zip(chosen, texts, strict=True):
            total = total + score(item.tokens.tolist(), read)
    return total


class Trainer:
    """Model, average of its weights, optimiser, and how far they are."""

    network: type[DemoModel] = DemoModel
    points: tuple[OperatingPoint | None, ...] = POINTS

    def __init__(self, speech: Path, output: Path, recipe: Recipe) -> None:
        self.output, self.recipe = output, recipe
        output.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        self.tokens: list[str] = json.loads((speech / "tokens.json").read_text("utf-8"))
        self.speech = speech
        self.model = self.network(len(self.tokens))
        self.average = self.network(len(self.tokens))
        self.average.load_state_dict(self.model.state_dict())
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=recipe.peak,
            betas=(0.9, 0.98),
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        self.step, self.elapsed = 0, 0.0
        checkpoint = output / "checkpoint.pt"
        if checkpoint.exists():
            state = torch.load(checkpoint, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.elapsed = state["step"], state["elapsed"]
        self.normaliser = self._normaliser()

    def _normaliser(self) -> Normaliser:
        kept = self.output / "normaliser.npz"
        if not kept.exists():
            shards = [Shard(path) for path in sorted(self.speech.glob("train-*"))]
            mean, deviation = statistics(shards[:10], 200)
            np.savez(kept, mean=mean, deviation=deviation)
        held = np.load(kept)
        return Normaliser.measured(held["mean"], held["deviation"])

    def save(self) -> None:
        """Write a checkpoint; the old one stays whole until the new one is."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "elapsed": self.elapsed,
        }
        partial = self.output / "checkpoint.partial"
        torch.save(state, partial)
        os.replace(partial, self.output / "checkpoint.pt")

    def _learn(self, batch) -> losses.Losses:  # noqa: ANN001
        recipe = self.recipe
        share = self.elapsed / recipe.seconds
        sampler = recipe.sampler[int(share > recipe.settled)]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=FAST_BFLOAT16):
            parts = losses.compute(self.model, batch, share < recipe.frames_until, sampler)
        loss = (
            parts.characters
            + parts.quantity
            + 0.5 * parts.alignment
            + parts.steps
            + 0.7 * parts.frames
        )
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.rate(self.step, self.elapsed)
        self.optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
        if torch.isfinite(norm):
            self.optimizer.step()
        keep = min(recipe.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.average.parameters()), list(self.model.parameters()), 1 - keep
            )
        return parts

    def run(self) -> None:
        recipe = self.recipe
        torch.set_num_threads(recipe.threads)
        dev = {kind: list(Shard(self.speech / kind)) for kind in DEV_SETS}
        loader = iter(
            Loader(
                self.speech,
                self.normaliser,
                recipe.positions,
                recipe.seed + self.step,
                recipe.second_share,
                self.points,
            )
        )
        recent: dict[str, float] = {}
        began, saved = time.monotonic() - self.elapsed, self.elapsed
        columns = (
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[state]}"),
        )
        with Progress(*columns, disable=not _ON_TERMINAL) as progress:
            task = progress.add_task("", total=int(recipe.seconds), state="")
            while self.elapsed < recipe.seconds:
                parts = self._learn(next(loader))
                self.step += 1
                self.elapsed = time.monotonic() - began
                values = {
                    "ce": parts.characters.item(),
                    "quantity": parts.quantity.item(),
                    "alignment": parts.alignment.item(),
                    "steps": parts.steps.item(),
                    "frames": parts.frames.item(),
                    "right": parts.accuracy,
                }
                for name, value in values.items():
                    recent[name] = 0.95 * recent.get(name, value) + 0.05 * value
                state = " ".join(f"{name} {value:.3f}" for name, value in recent.items())
                progress.update(task, completed=int(self.elapsed), state=state)
                if self.step % 25 == 0:
                    self._log(f"{state} rate {recipe.rate(self.step, self.elapsed):.2e}")
                if self.elapsed - saved > recipe.checkpoint_every:
                    saved = self.elapsed
                    self.save()
                    self._watch(dev)
        self.save()
        self._watch(dev)

    def _watch(self, dev: dict[str, list[Item]]) -> None:
        items = {kind: part[:64] for kind, part in dev.items()}
        normaliser = self.normaliser
        point, *others = self.points
        figures = {k: evaluate(self.average, v, normaliser, point, True) for k, v in items.items()}
        for other in others:
            figures["dev_480ms"] = evaluate(self.average, items["dev"], normaliser, other, True)
        self._log(" ".join(f"{kind} {figure.rate:.2%}" for kind, figure in figures.items()))

    def _log(self, line: str) -> None:
        line = f"{self.elapsed:7.1f} s  step {self.step}  {line}"
        with open(self.output / "train.log", "a", encoding="utf-8") as log:
            log.write(line + "\n")
        if not _ON_TERMINAL:
            print(line, flush=True)
