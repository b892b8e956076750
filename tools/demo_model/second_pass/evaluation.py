"""Error rates of the exported offline model, and how well it finds hotwords."""

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

import torch
from torch import Tensor

from tools.demo_model import invented
from tools.demo_model.architecture import TAIL, WIDTH
from tools.demo_model.evaluation import Reader, read_normaliser
from tools.demo_model.features import fbank, stack_frames
from tools.demo_model.model import DemoModel
from tools.demo_model.streaming_layout import Layout, whole
from tools.demo_model.test_sets import read_wav

from .export import unpacked
from .frozen import Frozen
from .hotwords import Word, merge
from .network import OfflineModel


class OfflineReader(Reader):
    """An exported offline model, ready to transcribe whole recordings."""

    def __init__(self, folder: Path) -> None:
        self.tokens: list[str] = json.loads((folder / "tokens.json").read_text("utf-8"))
        self.model = OfflineModel(len(self.tokens)).eval()
        stored = torch.load(folder / "model.pt", weights_only=True)
        self.model.paraformer.load_state_dict(unpacked(stored))
        self.normaliser = read_normaliser(folder / "am.mvn")

    def layout(self, frames: Tensor, lengths: Tensor, point: int) -> Layout:
        """Lay whole recordings out; there is no operating point."""
        return whole(frames, lengths, WIDTH)

    @torch.inference_mode()
    def frozen(self, path: Path) -> Frozen:
        """Return what the recogniser makes of one recording, greedily."""
        frames = self.normaliser(torch.from_numpy(stack_frames(fbank(read_wav(path)))))[None]
        layout = self.layout(frames, torch.tensor([frames.shape[1]]), 0)
        encoded = self.model.encode(layout)
        count = int(encoded.alphas.double().sum() + TAIL + 1e-6)
        fired = DemoModel.fire(encoded.hidden, encoded.alphas, count, layout.point.width)
        decoded = self.model.hidden(fired.embeddings, encoded, layout)
        none = torch.zeros(0).numpy()
        return Frozen(encoded.hidden[0], fired.embeddings[0], decoded[0], none, none, none)

    @torch.inference_mode()
    def text(self, one: Frozen, words: Sequence[str] = ()) -> str:
        """Return the text of a recording, with a list of hotwords."""
        ids = {token: index for index, token in enumerate(self.tokens)}
        spelled: list[Word] = [tuple(ids[c] for c in word) for word in words]
        plain = self.model.paraformer.decoder.output_layer(one.decoded).argmax(-1).tolist()
        tokens = merge(self.model, one, spelled) if spelled else plain
        return "".join(self.tokens[token] for token in tokens)


def hotword_figures(reader: OfflineReader, manifest: Path, size: int = 50) -> str:
    """Return recall of the names without and with lists of `size` words, and false insertions."""
    entries = [json.loads(line) for line in manifest.read_text("utf-8").splitlines()]
    drawn = invented.names(invented.BENCHMARK_SEED + 1)
    others = [next(drawn) for _ in range(500)]
    rng = Random(1)
    without = found = false = right = 0
    for entry in entries:
        one = reader.frozen(manifest.parent / entry["file"])
        (name,) = entry["names"]
        listed = rng.sample(others, size - 1)
        text = reader.text(one, [name, *listed])
        without += name in reader.text(one)
        found += name in text
        right += text == entry["text"]
        false += any(word in reader.text(one, listed) for word in listed)
    count = len(entries)
    return (
        f"recall {without / count:.1%} without, {found / count:.1%} with a list of {size};"
        f" right {right / count:.1%}; false insertions {false} in {count}"
    )
