"""Train what is beside the recogniser, times and hotwords, on its frozen outputs."""

import json
from pathlib import Path

import torch

from tools.demo_model.dataset import NAMES
from tools.demo_model.evaluation import read_normaliser

from . import hotwords, times
from .frozen import freeze, read_items
from .network import OfflineModel

PLAIN = 11_600
"""Recordings without an invented word, from which hotwords are learnt."""
MOST_TOKENS = 30
"""Of these recordings: longer ones would pad their batches."""
TIMED = 1_200
"""Recordings from which the times are learnt."""
TIMES = tuple(f"paraformer.predictor.{part}" for part in ("upsample_cnn", "blstm", "cif_output2"))
HOTWORDS = tuple(
    f"paraformer.{part}" for part in ("bias_encoder", "seaco_decoder", "hotword_output_layer.bias")
)
PARTS = ("times", "hotwords")
"""What is trained beside the recogniser, each part in a file of its own."""


def trained(folder: Path, tokens: int, complete: bool = False) -> OfflineModel:
    """Return the recogniser of the last checkpoint, with the heads trained so far.

    Raises FileNotFoundError if it shall be `complete` and a head is not trained.
    """
    model = OfflineModel(tokens)
    state = torch.load(folder / "checkpoint.pt", weights_only=True)["average"]
    recogniser = {
        name: value for name, value in state.items() if not name.startswith(TIMES + HOTWORDS)
    }
    model.load_state_dict(recogniser, strict=False)
    hotwords.begin(model.paraformer)
    for part in PARTS:
        if complete or (folder / f"{part}.pt").exists():
            kept = torch.load(folder / f"{part}.pt", weights_only=True)
            model.load_state_dict(kept, strict=False)
    return model.eval()


def save(model: OfflineModel, folder: Path, part: str, prefixes: tuple[str, ...]) -> None:
    """Keep the weights of one part."""
    state = model.state_dict()
    torch.save(
        {name: value for name, value in state.items() if name.startswith(prefixes)},
        folder / f"{part}.pt",
    )


def train(work: Path, streaming: Path, seconds: float, times_seconds: float, threads: int) -> None:
    """Train both parts, beginning with the weights that an earlier run left."""
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    speech, folder = work / "speech", work / "second_pass"
    tokens: list[str] = json.loads((speech / "tokens.json").read_text("utf-8"))
    ids = {token: index for index, token in enumerate(tokens)}
    normaliser = read_normaliser(streaming / "am.mvn")
    model = trained(folder, len(tokens))

    def log(line: str) -> None:
        with open(folder / "heads.log", "a", encoding="utf-8") as stream:
            stream.write(line + "\n")
        print(line, flush=True)

    if times_seconds:
        timed = list(freeze(model, read_items(speech, "train-*", TIMED), normaliser))
        times.train(model.paraformer.predictor, timed, times_seconds, log)
        save(model, folder, "times", TIMES)
    if not seconds:
        return
    words = json.loads((speech / "names.json").read_text("utf-8"))
    items = read_items(speech, "train-*", PLAIN) + read_items(speech, "names-*", NAMES)
    data = []
    for one in freeze(model, items, normaliser):
        if len(one.tokens) <= MOST_TOKENS:
            word = words.get("".join(tokens[token] for token in one.tokens))
            data.append(hotwords.Spoken(one.for_hotwords(), word and tuple(ids[c] for c in word)))
    log(f"{len(data)} recordings for hotwords")
    hotwords.train(model, data, seconds, log)
    save(model, folder, "hotwords", HOTWORDS)
