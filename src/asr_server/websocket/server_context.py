"""Hold what all connections share."""

from dataclasses import dataclass, field

from asr_server.access import Caller
from asr_server.asr.engine import Engine
from asr_server.audio.decoder_pool import DecoderPool, decoder_pool
from asr_server.errors import Throttled
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
    address_limit: ConcurrencyLimit = field(default_factory=lambda: ConcurrencyLimit(0))
    """Running tasks of each client address."""
    decoders: DecoderPool = field(default_factory=decoder_pool)

    def acquire(self, caller: Caller, address: str) -> None:
        """Count a task that begins. Raises Throttled."""
        self.task_limit.acquire(caller)
        try:
            self.address_limit.acquire(address)
        except Throttled:
            self.task_limit.release(caller)
            raise

    def release(self, caller: Caller, address: str) -> None:
        """Count a task that ended."""
        self.task_limit.release(caller)
        self.address_limit.release(address)
