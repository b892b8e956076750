"""Punctuation of whole sentences, many at once.

The network is FunASR's `CTTransformerStreaming` (Chen et al., "Controllable Time-Delay
Transformer", 2020) with the same parameter names. A sentence is known to its end here, so every
token sees all of it in the last layer (`vad_mask` without a cut) and no mark is put off to the next
call.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from asr_server.asr.loading.model_dir import ModelDir, load_weights, own
from asr_server.asr.nn.sanm import LAYER_NORM_EPS, EncoderLayer, penalties, positions

TOGETHER = 512
"""Tokens computed at once, unless one sentence has more: what thirty long sentences at once take
would be kept for long."""

NO_MARKS = frozenset({"<unk>", "_"})
"""Entries of the model's `punc_list` that stand for nothing."""


class _Encoder(nn.Module):
    def __init__(
        self, inputs: int, size: int, heads: int, units: int, layers: int, kernel: int, shift: int
    ) -> None:
        super().__init__()

        def layer(inputs: int) -> EncoderLayer:
            return EncoderLayer(inputs, size, heads, units, kernel, shift, even=False)

        self.encoders0 = nn.ModuleList([layer(inputs)])
        self.encoders = nn.ModuleList(layer(size) for _ in range(layers - 1))
        self.after_norm = nn.LayerNorm(size, eps=LAYER_NORM_EPS)


class PunctuationModel(nn.Module):
    """Tokens to scores of the mark after each."""

    def __init__(self, vocabulary: int, inputs: int, marks: int, encoder: _Encoder) -> None:
        super().__init__()
        self._size = encoder.after_norm.normalized_shape[0]
        self.embed = nn.Embedding(vocabulary, inputs)
        self.encoder = encoder
        self.decoder = nn.Linear(self._size, marks)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(B, T) token ids, `lengths` (B,) of them real, to (B, T, marks)."""
        count = tokens.shape[1]
        place = torch.arange(count, device=tokens.device)
        real = place[None, :] < lengths[:, None]  # (B, T)
        everywhere = real[:, None, None, :]  # (B, 1, 1, T)
        backward = everywhere & (place[None, :] <= place[:, None])  # (B, 1, T, T)
        x = self.embed(tokens)
        x = x * self._size**0.5 + positions(place + 1, x.shape[2])
        frames = real[:, :, None].to(x.dtype)
        layers = [*self.encoder.encoders0, *self.encoder.encoders]
        for layer in layers[:-1]:
            x, _ = layer(x, None, penalties(backward), frames)
        x, _ = layers[-1](x, None, penalties(everywhere), frames)
        return self.decoder(self.encoder.after_norm(x))  # type: ignore[no-any-return]


class Punctuator:
    """Marks for the tokens of sentences."""

    def __init__(
        self, model: PunctuationModel, tokens: Sequence[str], marks: Sequence[str]
    ) -> None:
        self._model = model
        self._ids = {token: index for index, token in enumerate(tokens)}
        self._unknown = self._ids.get("<unk>", len(tokens) - 1)
        self._marks = tuple("" if mark in NO_MARKS else mark for mark in marks)

    @classmethod
    def load(cls, path: Path) -> "Punctuator":
        """Build from a FunASR model directory; raises as `ModelDir.open` does."""
        model_dir = ModelDir.open(path)
        config = model_dir.config["model_conf"]
        encoder_config = model_dir.config["encoder_conf"]
        model = PunctuationModel(
            len(model_dir.tokens),
            config["embed_unit"],
            len(config["punc_list"]),
            _Encoder(
                inputs=config["embed_unit"],
                size=encoder_config["output_size"],
                heads=encoder_config["attention_heads"],
                units=encoder_config["linear_units"],
                layers=encoder_config["num_blocks"],
                kernel=encoder_config.get("kernel_size", 11),
                shift=encoder_config.get("sanm_shfit", 0),
            ),
        )
        load_weights(model, model_dir.weights(), str(path))
        own(model.float().eval().requires_grad_(False))
        return cls(model, model_dir.tokens, config["punc_list"])

    @torch.inference_mode()
    def marks(self, sentences: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
        """The mark after every piece of every sentence, empty where there is none."""
        marks: list[tuple[str, ...]] = [()] * len(sentences)
        for group in _groups([len(pieces) for pieces in sentences]):
            said = self._marks_of([sentences[number] for number in group])
            for number, row in zip(group, said, strict=True):
                marks[number] = row
        return marks

    def _marks_of(self, sentences: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
        """The marks of sentences that are computed at once, none of which is empty."""
        longest = max(map(len, sentences))
        tokens = torch.zeros((len(sentences), longest), dtype=torch.int64)
        for row, pieces in zip(tokens, sentences, strict=True):
            ids = [self._ids.get(piece.removesuffix("@@"), self._unknown) for piece in pieces]
            row[: len(ids)] = torch.tensor(ids, dtype=torch.int64)
        lengths = torch.tensor([len(pieces) for pieces in sentences])
        best = self._model(tokens, lengths).argmax(dim=2).tolist()
        return [
            tuple(self._marks[mark] for mark in row[: len(pieces)])
            for row, pieces in zip(best, sentences, strict=True)
        ]


def _groups(lengths: Sequence[int]) -> list[list[int]]:
    """Which sentences of such lengths go together: alike ones, filled up to `TOGETHER` tokens."""
    groups: list[list[int]] = []
    room = 0
    for number in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if not lengths[number]:
            break
        if not room:
            groups.append([])
            room = max(1, TOGETHER // lengths[number])
        groups[-1].append(number)
        room -= 1
    return groups
