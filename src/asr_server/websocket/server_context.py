"""Hold what all connections share."""

from dataclasses import dataclass, field

from asr_server.asr.engine import Engine
from asr_server.audio.decoder_pool import DecoderPool, decoder_pool
from asr_server.observability.metrics import Metrics
from asr_server.settings import Settings
from asr_server.vocabularies import Vocabularies
from asr_server.websocket.limits import ConcurrencyLimit


@dataclass(frozen=True, slots=True)
class ServerContext:
    """Hold what a connection needs beside its socket and its caller."""

    engine: Engine
    settings: Settings
    vocabularies: Vocabularies
    task_limit: ConcurrencyLimit
    """Running tasks of each caller."""
    metrics: Metrics = field(default_factory=Metrics)
    decoders: DecoderPool = field(default_factory=decoder_pool)
