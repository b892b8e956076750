"""Train the offline model from the streaming one's weights: it only has to learn full context."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from tools.demo_model.batches import collate
from tools.demo_model.dataset import Shard
from tools.demo_model.evaluation import read_normaliser
from tools.demo_model.features import Normaliser
from tools.demo_model.streaming_layout import Layout
from tools.demo_model.train import Recipe, Trainer

from .network import OfflineModel


@dataclass(frozen=True, slots=True)
class SecondPassRecipe(Recipe):
    """A lower rate than the streaming model's, without what only an untrained model needs."""

    peak: float = 3e-4
    warmup: int = 50
    flat: float = 0.2
    positions: int = 2000
    sampler: tuple[float, float] = (0.0, 0.0)
    frames_until: float = 0.0
    average: float = 0.995
    checkpoint_every: float = 180.0
    second_share: float = 0.0
    threads: int = 1


class SecondPassTrainer(Trainer):
    """Trainer of the offline model, beginning with the streaming model's weights."""

    network = OfflineModel
    points = (None,)

    def __init__(self, speech: Path, output: Path, recipe: Recipe, streaming: Path) -> None:
        self.streaming = streaming
        super().__init__(speech, output, recipe)
        if self.step == 0:
            weights = torch.load(streaming / "model.pt", weights_only=True)
            items = list(Shard(speech / "dev"))[:40]
            with torch.no_grad():
                begin_with(self.model, {k: v.float() for k, v in weights.items()})
                prune(self.model, weights, collate(items, self.normaliser, None).layout)
            self.average.load_state_dict(self.model.state_dict())

    def _normaliser(self) -> Normaliser:
        return read_normaliser(self.streaming / "am.mvn")


def begin_with(model: OfflineModel, weights: dict[str, Tensor]) -> None:
    """Copy the streaming model's weights; its decoder's FSMN looks back only, ours both ways."""
    own = model.paraformer.state_dict()
    for name, value in weights.items():
        if name.startswith("decoder.") and name.endswith("fsmn_block.weight"):
            ahead = own[name].shape[2] - value.shape[2]
            value = torch.cat([value, value.new_zeros(*value.shape[:2], ahead)], 2)
        if own[name].shape == value.shape:
            own[name].copy_(value)


def input_of(layer: nn.Module, model: OfflineModel, layout: Layout) -> Tensor:
    """Return what a layer's feed-forward part sees of a batch."""
    inputs: list[Tensor] = []
    hook = layer.norm2.register_forward_hook(lambda *call: inputs.append(call[2]))
    model.encode(layout)
    hook.remove()
    return inputs[0]


def prune(model: OfflineModel, weights: dict[str, Tensor], layout: Layout) -> None:
    """Keep those units of the encoder's feed-forward layers that carry most on some speech."""
    encoder = model.paraformer.encoder
    for name, layer in [
        *((f"encoders0.{n}", one) for n, one in enumerate(encoder.encoders0)),
        *((f"encoders.{n}", one) for n, one in enumerate(encoder.encoders)),
    ]:
        full = {
            part: weights[f"encoder.{name}.feed_forward.{part}"].float()
            for part in ("w_1.weight", "w_1.bias", "w_2.weight", "w_2.bias")
        }
        seen = input_of(layer, model, layout)
        units = torch.relu(seen[layout.valid[:, 0]] @ full["w_1.weight"].T + full["w_1.bias"])
        importance = units.std(0) * full["w_2.weight"].norm(dim=0)
        own = layer.feed_forward
        order = importance.argsort(descending=True)
        kept, left_out = order[: own.w_1.out_features], order[own.w_1.out_features :]
        own.w_1.weight.copy_(full["w_1.weight"][kept])
        own.w_1.bias.copy_(full["w_1.bias"][kept])
        own.w_2.weight.copy_(full["w_2.weight"][:, kept])
        # What the others add on average stays.
        own.w_2.bias.copy_(
            full["w_2.bias"] + full["w_2.weight"][:, left_out] @ units.mean(0)[left_out]
        )
