"""Run the offline Paraformer on whole sentences, batched by length.

Letters of shapes: B rows, S samples, T frames, K tokens of a row, N of all rows, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from asr_server.asr.hotwords import HotwordSet
from asr_server.asr.loading.model_dir import SPECIAL_TOKENS, ModelDir
from asr_server.asr.loading.networks import load_frontend, load_offline
from asr_server.asr.nn.cif import Fired, integrate_and_fire
from asr_server.asr.nn.frontend import FEATURES, FRAME, LFR_N, SHIFT, Frontend
from asr_server.asr.nn.hotword_bias import BiasList, SeacoParaformer
from asr_server.asr.nn.layer_loop import run_layers
from asr_server.asr.nn.offline import OfflineDecoderContext, OfflineParaformer
from asr_server.asr.nn.ops import unpad
from asr_server.asr.nn.sanm import attention_mask
from asr_server.asr.run.shape_buckets import (
    ROW_DIGITS,
    TOKEN_DIGITS,
    bucket,
    buckets,
    pad_to_bucket,
)
from asr_server.asr.run.token_times import token_times
from asr_server.asr.run.tracing import Example, traced
from asr_server.asr.types import LoadError, SecondPassToken, SecondPassWork
from asr_server.audio.units import Samples

MAX_FRAMES = 1024
"""Frames of a batch, 61 s, unless one sentence has more: they bound its memory."""
SIMILAR = 0.75
"""Sentences from this share of the longest one's length join its batch."""
FEWEST_FRAMES = 4
"""Frames are padded to multiples of this: with fewer sizes fewer products are compiled."""
FRAMES_PER_TOKEN = 3
"""Of quick speech; a batch with more tokens compiles then."""
MAX_WORDS = 4000
"""Words of all hotword lists kept as the network reads them, unless the last has more: 100 MB."""
FULL_WEIGHT = 4
"""The weight, DashScope's default, from which the hotword decoder alone decides on a word."""


class _Scores(NamedTuple):
    """Hold the best tokens of one row."""

    tokens: list[int]
    confidences: list[float]


class SecondPassRunner:
    """Recognise whole sentences; keep nothing of them."""

    def __init__(
        self, network: OfflineParaformer, frontend: Frontend, pieces: Sequence[str]
    ) -> None:
        self.network = network
        self._frontend, self._pieces = frontend, pieces
        self._device = network.encoder.after_norm.weight.device
        self.favours_hotwords = isinstance(network, SeacoParaformer)
        self._lists: dict[HotwordSet, BiasList] = {}
        """The last ones used, the latest last."""

    @torch.inference_mode()
    def __call__(self, works: Sequence[SecondPassWork]) -> list[tuple[SecondPassToken, ...]]:
        """Return the tokens with text of each sentence."""
        tokens: list[tuple[SecondPassToken, ...]] = [()] * len(works)
        for batch in batches([frames_of(len(work.pcm)) for work in works]):
            rows = self._recognise([works[number] for number in batch])
            for number, row in zip(batch, rows, strict=True):
                tokens[number] = row
        return tokens

    def _recognise(self, works: Sequence[SecondPassWork]) -> list[tuple[SecondPassToken, ...]]:
        """Return the tokens of one batch."""
        counts = [len(work.pcm) for work in works]
        samples = torch.zeros(len(works), max(counts))
        for row, work in zip(samples.numpy(), works, strict=True):
            row[: len(work.pcm)] = work.pcm
        lengths = [frames_of(count) for count in counts]
        frames = frame_bucket(max(lengths))
        first = torch.ones(len(works), dtype=torch.bool, device=self._device)
        on_device = torch.tensor(counts, device=self._device)
        features = self._frontend(samples.to(self._device), on_device, first, frames)
        place = torch.arange(frames, device=self._device)
        frame_mask = place < features.lengths[:, None]  # (B, T)
        hidden = self.network.encode(features.frames, frame_mask)
        scores = self._decode(hidden, frame_mask, works)
        if not any(own.tokens for own in scores):
            return [()] * len(works)
        weights = self.network.predictor.time_weights(hidden.float(), features.lengths)
        rows = zip(works, scores, weights.cpu().numpy(), lengths, strict=True)
        upsampling = self.network.config.upsampling
        return [
            self._tokens(own, fine[: length * upsampling], len(work.pcm))
            for work, own, fine, length in rows
        ]

    def _tokens(
        self, scores: _Scores, weights: NDArray[np.float32], samples: Samples
    ) -> tuple[SecondPassToken, ...]:
        pieces = (self._pieces[token] for token in scores.tokens)
        found = [
            (piece, confidence)
            for piece, confidence in zip(pieces, scores.confidences, strict=True)
            if piece not in SPECIAL_TOKENS
        ]
        times = token_times(weights, len(found), samples)
        return tuple(
            SecondPassToken(piece, begin, end, confidence)
            for (piece, confidence), (begin, end) in zip(found, times, strict=True)
        )

    def _decode(
        self, hidden: Tensor, frame_mask: Tensor, works: Sequence[SecondPassWork]
    ) -> list[_Scores]:
        """Return the best tokens of each row of `hidden` (B, T, D)."""
        network, dtype = self.network, self.network.dtype
        fired = self._fire(hidden, frame_mask)
        counts = fired.counts.tolist()
        if not any(counts):
            return [_Scores([], [])] * len(works)
        mask = fired.token_mask  # (B, K)
        unpad_index = mask.flatten().nonzero().squeeze(1)
        count = len(unpad_index)
        pad_index = torch.zeros(mask.shape, dtype=torch.int64, device=self._device)
        pad_index.view(-1)[unpad_index] = torch.arange(count, device=self._device)
        unpad_index = pad_to_bucket(unpad_index, TOKEN_DIGITS)
        context = OfflineDecoderContext(
            pad_index,
            unpad_index,
            mask[:, :, None].to(dtype),
            hidden,
            attention_mask(frame_mask[:, None, None, :]),
        )
        embeddings = unpad(fired.embeddings, unpad_index).to(dtype)
        decoded = network.decoder.hidden(embeddings, [], context, [])
        logits = network.decoder.output_layer(decoded)[:count].float()
        rows = list(torch.split(logits.log_softmax(dim=1), counts))
        if isinstance(network, SeacoParaformer):
            inputs = torch.stack((embeddings[:count], decoded[:count]))
            for row, own in enumerate(torch.split(inputs, counts, dim=1)):
                hotwords, padding = works[row].hotwords, bucket(counts[row], TOKEN_DIGITS)
                if hotwords and counts[row]:
                    own = F.pad(own, (0, 0, 0, padding - counts[row]))
                    rows[row] = network.merge(rows[row], own, self._bias_list(hotwords))
        best = [row.max(dim=1) for row in rows]
        return [
            _Scores(one.indices.tolist(), network.confidences(one.values.exp()).tolist())
            for one in best
        ]

    def _fire(self, hidden: Tensor, frame_mask: Tensor) -> Fired:
        config = self.network.config
        nothing = torch.zeros(len(hidden), device=self._device)
        return integrate_and_fire(
            hidden.float(),
            self.network.predictor(hidden.float()) * frame_mask,
            rest_hidden=nothing[:, None].expand(-1, hidden.shape[2]),
            rest_weight=nothing,
            tail_weight=nothing + config.cif_tail,
            threshold=config.cif_threshold,
        )

    @torch.inference_mode()
    def trace(self) -> None:
        """Run the layers without Python's interpreter from now on; their weights are final."""
        network = self.network
        examples = [self._examples(rows, 8 * rows, 5 * rows) for rows in (1, 2)]
        encoder, decoder = zip(*examples, strict=True)
        network.encoder.layer_loop = traced(network.encoder.layers, encoder)
        network.decoder.layer_loop = traced(list(network.decoder.decoders), decoder)

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Run every shape bucket, so that no product of up to a minute of speech compiles later.

        Two layers of the encoder and one of the decoder have all products of a network. Large
        sentences come first: what is compiled for smaller ones lies where those computed.
        """
        network = self.network
        for frames in sorted({frame_bucket(n) for n in range(1, MAX_FRAMES + 1)}, reverse=True):
            encoder, decoder = self._examples(1, frames, 1)
            hidden = run_layers(network.encoder.layers[:2], *encoder)
            network.predictor(hidden.float())
            run_layers(network.decoder.decoders[:1], *decoder)
        for tokens in reversed(buckets(MAX_FRAMES // FRAMES_PER_TOKEN, TOKEN_DIGITS)):
            _, decoder = self._examples(1, FEWEST_FRAMES, tokens)
            network.decoder.output_layer(run_layers(network.decoder.decoders[:1], *decoder))

    def _examples(self, rows: int, frames: int, tokens: int) -> tuple[Example, Example]:
        """Return arguments of the encoder's layers and of the decoder's."""
        config, dtype = self.network.config, self.network.dtype
        mask, frame_mask = torch.zeros(rows, 1, 1, frames), torch.ones(rows, frames, 1, dtype=dtype)
        features = torch.randn(rows, frames, FEATURES).to(dtype)
        x = torch.randn(tokens, config.size).to(dtype)
        pad_index = torch.arange(tokens).view(rows, -1)
        context = OfflineDecoderContext(
            pad_index,
            torch.arange(tokens),
            torch.ones(*pad_index.shape, 1, dtype=dtype),
            torch.randn(rows, frames, config.size).to(dtype),
            mask,
        )
        return (features, [], [mask, frame_mask], []), (x, [], list(context), [])

    def _bias_list(self, words: HotwordSet) -> BiasList:
        found = self._lists.pop(words, None) or self._read_list(words)
        self._lists[words] = found
        while len(self._lists) > 1 and sum(len(each.spelled) for each in self._lists) > MAX_WORDS:
            del self._lists[next(iter(self._lists))]
        return found

    def _read_list(self, words: HotwordSet) -> BiasList:
        assert isinstance(self.network, SeacoParaformer)
        strengths = torch.ones(len(self._pieces))
        for tokens, weight in sorted(words.spelled, key=itemgetter(1)):  # the largest counts
            strengths[list(tokens)] = min(weight / FULL_WEIGHT, 1.0)
        return self.network.read_list(
            [list(tokens) for tokens, _ in words.spelled], strengths.to(self._device)
        )


def load_second_pass(
    path: Path, vocabulary: Sequence[str], device: torch.device, dtype: str
) -> SecondPassRunner:
    """Load a model directory whose tokens are `vocabulary`; raises LoadError."""
    try:
        model = ModelDir.open(path)
        if model.tokens != tuple(vocabulary):
            raise ValueError(f"{path}: its tokens are not those of the streaming model")
        network = load_offline(model, device, dtype)
        return SecondPassRunner(network, load_frontend(model).to(device), model.tokens)
    except (OSError, ValueError) as exc:
        raise LoadError(f"The model of the second pass cannot be used: {exc}") from exc
    except (KeyError, TypeError) as exc:
        raise LoadError(
            f"The model of the second pass cannot be used: {path}/config.yaml lacks {exc}"
        ) from exc


def frames_of(samples: Samples) -> int:
    """Return the frames of a sentence."""
    return -(-((samples - FRAME) // SHIFT + 1) // LFR_N) if samples >= FRAME else 0


def frame_bucket(frames: int) -> int:
    """Return the frames to which a batch is padded: multiples of 4, then at most an eighth more."""
    return bucket(-(-frames // FEWEST_FRAMES) * FEWEST_FRAMES, ROW_DIGITS)


def batches(frames: Sequence[int]) -> Iterator[list[int]]:
    """Yield the numbers of sentences of similar length, given their `frames`; none of 0 frames.

    Batches have 1, 2, 4, ... rows. Any of them has a number of padded frames that also a single
    sentence can have: so all share the products that are compiled for these.
    """
    order = [number for number, count in enumerate(frames) if count]
    order.sort(key=frames.__getitem__, reverse=True)
    while order:
        longest = frames[order[0]]
        room = max(1, MAX_FRAMES // frame_bucket(longest))
        similar = sum(frames[number] >= SIMILAR * longest for number in order[:room])
        rows = 1 << similar.bit_length() - 1
        yield order[:rows]
        order = order[rows:]
