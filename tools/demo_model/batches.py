"""Batches of similar length from the shards, augmented and laid out in a background thread."""

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .architecture import WIDTH
from .dataset import Item, Shard
from .features import FRAME_MS, MELS, Normaliser, stack_frames
from .streaming_layout import Layout, OperatingPoint, arrange, whole

POINTS = (OperatingPoint(), OperatingPoint(stride=8, look=4))


@dataclass(frozen=True, slots=True)
class Batch:
    """Hold utterances laid out as chunks, with their texts.

    tokens: [batch, n] padded with -1; counts: [batch]; end_positions: [batch, n], flat position at
    which each character ends; gold: [batch, positions], alphas spread over the characters' time;
    labels: [batch, positions], the character sounding at a counting position, 0 for none, else -1.
    """

    layout: Layout
    tokens: Tensor
    counts: Tensor
    end_positions: Tensor
    gold: Tensor
    labels: Tensor


def augment_features(features: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Tilt the spectrum, as microphones do, and mask a few bins or frames now and then.

    Little of it: the data is seen about three times, so the model learns too slowly, not too much.
    """
    features = features.copy()
    mean = features.mean()
    if rng.random() < 0.15:
        size = int(rng.integers(1, 14))
        start = int(rng.integers(0, MELS - size))
        features[:, start : start + size] = mean
    if rng.random() < 0.3:
        features += np.linspace(-1, 1, MELS, dtype=np.float32) * np.float32(rng.uniform(-1.5, 1.5))
    if rng.random() < 0.05 and len(features) > 60:
        size = int(rng.integers(1, 16))
        start = int(rng.integers(0, len(features) - size))
        features[start : start + size] = mean
    return features


def warp(features: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Stretch the frequency axis by up to 6 %, as another speaker's vocal tract does."""
    if rng.random() < 0.7:
        return features
    place = np.clip(np.arange(MELS) * rng.uniform(0.94, 1.06), 0, MELS - 1)
    low = np.minimum(place.astype(int), MELS - 2)
    share = (place - low).astype(np.float32)
    return features[:, low] * (1 - share) + features[:, low + 1] * share


def collate(
    items: list[Item],
    normaliser: Normaliser,
    point: OperatingPoint | None,
    rng: np.random.Generator | None = None,
) -> Batch:
    """Lay a list of recordings out; with a generator, augment them for training.

    Without an operating point utterances are whole, as the offline model sees them.
    """
    stacked = []
    for item in items:
        features = item.features.astype(np.float32)
        if rng is not None:
            if point is None:
                features = warp(features, rng)
            features = augment_features(features, rng)
        stacked.append(normaliser(torch.from_numpy(stack_frames(features))))
    lengths = torch.tensor([len(frames) for frames in stacked])
    frames = torch.nn.utils.rnn.pad_sequence(stacked, batch_first=True)
    size = len(items)
    if point is None:
        layout = whole(frames, lengths, WIDTH)
    elif rng is None:
        layout = arrange(frames, lengths, point, WIDTH)
    else:
        # Late positions appear too, for streams that go on for long.
        late = rng.random(size) < 0.4
        offset = torch.from_numpy(np.where(late, rng.integers(0, 400, size), 0))
        flush_whole = torch.from_numpy(rng.random(size) < 0.5)
        layout = arrange(frames, lengths, point, WIDTH, offset, flush_whole)
    return _label(items, lengths, layout)


def _label(items: list[Item], lengths: Tensor, layout: Layout) -> Batch:
    size, most = len(items), max(max(len(item.tokens) for item in items), 1)
    time = int(lengths.max())
    tokens = torch.full((size, most), -1, dtype=torch.long)
    end_frames = torch.zeros(size, most, dtype=torch.long)
    frame_gold = torch.zeros(size, time)
    frame_labels = torch.full((size, time), -1, dtype=torch.long)
    for row, item in enumerate(items):
        length, count = int(lengths[row]), len(item.tokens)
        frame_labels[row, :length] = 0
        if not count:
            continue
        ids = torch.from_numpy(item.tokens.astype(np.int64))
        tokens[row, :count] = ids
        end_frames[row, :count] = torch.from_numpy(
            np.clip(np.round(item.ends / FRAME_MS), 0, length - 1).astype(np.int64)
        )
        # Progress through the text at the edges of each frame; its steps are the gold alphas.
        times = np.stack([item.begins, item.ends], 1).reshape(-1)
        done = np.stack([np.arange(count), np.arange(1, count + 1)], 1).reshape(-1)
        edges = (np.arange(length + 1) - 0.5) * FRAME_MS
        progress = np.interp(edges, times, done)
        progress[0], progress[-1] = 0, count
        frame_gold[row, :length] = torch.from_numpy(np.diff(progress)).float()
        centre = np.arange(length) * FRAME_MS
        which = np.searchsorted(item.ends, centre, side="right").clip(max=count - 1)
        sounding = (centre >= item.begins[which]) & (centre < item.ends[which])
        frame_labels[row, :length] = torch.where(
            torch.from_numpy(sounding), ids[torch.from_numpy(which)], 0
        )
    counts = (tokens >= 0).sum(1)
    positions = layout.valid.flatten(1).shape[1]
    place = layout.position(torch.arange(time).expand(size, -1)).clamp(max=positions - 1)
    inside = torch.arange(time)[None, :] < lengths[:, None]
    gold = torch.zeros(size, positions).scatter_add_(1, place, frame_gold * inside)
    labels = torch.full((size, positions), -1, dtype=torch.long)
    rows = torch.arange(size)[:, None].expand_as(place)
    labels[rows[inside], place[inside]] = frame_labels[inside]
    return Batch(layout, tokens, counts, layout.position(end_frames), gold, labels)


class Loader:
    """Endless random batches of about `positions` layout positions, buckets of similar length."""

    def __init__(
        self,
        folder: Path,
        normaliser: Normaliser,
        positions: int,
        seed: int,
        second_share: float = 0.15,
        points: Sequence[OperatingPoint | None] = POINTS,
    ) -> None:
        self.points = points
        self.shards = [
            Shard(path) for path in sorted(folder.glob("train-*")) if (path / "index.npz").exists()
        ]
        self.normaliser, self.positions = normaliser, positions
        self.second_share = second_share
        self.rng = np.random.default_rng(seed)
        self.sizes = np.array(
            [
                (shard_number, index, shard.frames(index))
                for shard_number, shard in enumerate(self.shards)
                for index in range(len(shard))
            ]
        )

    def _epoch(self) -> list[np.ndarray]:
        """Rows of one pass over the data, batch by batch, in random order."""
        jitter = self.sizes[:, 2] + self.rng.uniform(0, 60, len(self.sizes))
        order = np.argsort(jitter)
        batches, current, longest = [], [], 0
        for row in order:
            length = self.sizes[row, 2] / 6
            if self.points[0] is not None:
                length = (length / 10 + 1.5) * 15
            longest = max(longest, length)
            if current and (len(current) + 1) * longest > self.positions:
                batches.append(np.array(current))
                current, longest = [], length
            current.append(row)
        batches.append(np.array(current))
        self.rng.shuffle(batches)
        return batches

    def _make(self) -> Iterator[Batch]:
        while True:
            for rows in self._epoch():
                items = [self.shards[s][i] for s, i, _ in self.sizes[rows]]
                point = self.points[int(self.rng.random() < self.second_share)]
                yield collate(items, self.normaliser, point, self.rng)

    def __iter__(self) -> Iterator[Batch]:
        ready: queue.Queue[Batch] = queue.Queue(4)

        def fill() -> None:
            for batch in self._make():
                ready.put(batch)

        threading.Thread(target=fill, daemon=True).start()
        while True:
            yield ready.get()
