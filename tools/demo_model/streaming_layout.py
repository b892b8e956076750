"""How a streaming recogniser sees an utterance, laid out for a whole batch at once.

FunASR feeds its streaming Paraformer a buffer: `look` zero frames, then the frames of the
utterance.  Chunk c covers buffer frames [c * stride, c * stride + stride + look); its first
`stride` frames count (the centre), the others are look-ahead.  The last chunk is what is left of
the buffer and counts as a whole.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """chunk_size = [0, stride, look]; look-backs in chunks."""

    stride: int = 10
    look: int = 5
    encoder_look_back: int = 4
    decoder_look_back: int = 1

    @property
    def width(self) -> int:
        return self.stride + self.look


@dataclass(frozen=True, slots=True)
class Layout:
    """A batch of utterances as chunks.

    chunks: [batch, chunks, width, features], already scaled and with positions added.
    valid: [batch, chunks, width], positions that exist.
    centre: [batch, chunks, width], positions that count for the predictor.
    last: [batch], index of each utterance's last chunk.
    """

    point: OperatingPoint
    chunks: Tensor
    valid: Tensor
    centre: Tensor
    last: Tensor

    def position(self, frames: Tensor) -> Tensor:
        """Flat position (chunk * width + offset) at which a frame counts, [batch, n]."""
        buffered = frames + self.point.look
        chunk = torch.minimum(buffered // self.point.stride, self.last[:, None])
        return chunk * self.point.width + buffered - chunk * self.point.stride


def positional_encoding(length: int, depth: int, offset: Tensor) -> Tensor:
    """Sinusoids of StreamSinusoidalPositionEncoder from offset + 1, [batch, length, depth]."""
    increment = math.log(10_000) / (depth / 2 - 1)
    inverse = torch.exp(torch.arange(depth // 2) * -increment)
    positions = torch.arange(1, length + 1)[None, :] + offset[:, None]
    angles = positions[:, :, None] * inverse
    return torch.cat([angles.sin(), angles.cos()], dim=2)


def arrange(
    frames: Tensor,
    lengths: Tensor,
    point: OperatingPoint,
    width: int,
    offset: Tensor | None = None,
    flush_whole: Tensor | None = None,
) -> Layout:
    """Cut a padded batch of normalised frames into chunks.

    frames: [batch, time, features]; lengths: [batch]; width: the encoder's output size, whose root
    scales the input; offset: [batch], positions that went before; flush_whole: [batch], for an
    utterance that ends with a chunk, whether its last chunk is that chunk with its look-ahead or a
    chunk of look-ahead frames alone, which depends on when the server receives the end.
    """
    batch, time, depth = frames.shape
    offset = torch.zeros(batch) if offset is None else offset
    scaled = frames * width**0.5 + positional_encoding(time, depth, offset)
    last = lengths // point.stride
    if flush_whole is not None:
        last = torch.where(flush_whole & (lengths > 0), (lengths - 1) // point.stride, last)
    count = int(last.max()) + 1
    buffer = scaled.new_zeros(batch, count * point.stride + point.look, depth)
    usable = min(time, buffer.shape[1] - point.look)
    buffer[:, point.look : point.look + usable] = scaled[:, :usable]
    chunks = buffer.unfold(1, point.width, point.stride).transpose(2, 3)
    chunk = torch.arange(count)[None, :, None]
    within = torch.arange(point.width)[None, None, :]
    is_last = chunk == last[:, None, None]
    remaining = (point.look + lengths - last * point.stride)[:, None, None]
    valid = (chunk < last[:, None, None]) | (is_last & (within < remaining))
    centre = valid & (is_last | (within < point.stride))
    return Layout(point, chunks * valid[..., None], valid, centre, last)


def whole(frames: Tensor, lengths: Tensor, width: int) -> Layout:
    """Lay out a padded batch as the offline model sees it: every utterance is one chunk."""
    time = frames.shape[1]
    scaled = frames * width**0.5 + positional_encoding(time, frames.shape[2], torch.zeros(1))
    valid = (torch.arange(time)[None, :] < lengths[:, None])[:, None]
    chunks = scaled[:, None] * valid[..., None]
    return Layout(OperatingPoint(time, 0, 0, 0), chunks, valid, valid, torch.zeros_like(lengths))
