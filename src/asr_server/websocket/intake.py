"""One task's way through the recogniser, from the bytes it sends to what is heard of them."""

from asr_server.asr.engine import Engine
from asr_server.asr.stream import Stream
from asr_server.asr.types import Hypothesis, StreamOptions
from asr_server.audio.decode import Decoder, Pcm, open_decoder
from asr_server.audio.endpoint import EndpointOptions
from asr_server.audio.units import Samples, from_ms
from asr_server.errors import AsrError, NoValidAudio
from asr_server.state.results import Heard
from asr_server.state.session import Drained, Failed
from asr_server.state.task import Task


class Intake:
    """A decoder and a stream that live and end together."""

    def __init__(self, decoder: Decoder, stream: Stream, max_lead: Samples) -> None:
        self._decoder = decoder
        self._stream = stream
        self._max_lead = max_lead
        self._decoded: Samples = 0

    @classmethod
    def open(cls, task: Task, engine: Engine, max_lead_s: float) -> "Intake":
        """A place for a task. Raises what the decoder and the engine raise."""
        decoder = open_decoder(task.format, task.sample_rate)
        return cls(decoder, engine.open(_options(task)), from_ms(1000 * max_lead_s))

    def push(self, data: bytes) -> None:
        """Decode and pass on. Raises DecodeError."""
        self._push(self._decoder.feed(data))

    def finish(self) -> None:
        """There is no more. Raises DecodeError, NoValidAudio."""
        self._push(self._decoder.finish())
        if not self._decoded:
            raise NoValidAudio
        self._stream.finish()

    async def room(self) -> None:
        """Return once the recogniser is not too far behind."""
        await self._stream.room(self._max_lead)

    async def next(self) -> Heard | Drained | Failed:
        """What the recogniser has to say next."""
        try:
            event = await self._stream.next()
        except AsrError as error:
            return Failed(error)
        if isinstance(event, Hypothesis):
            return Heard(event.begin, event.end, event.tokens)
        return Drained()

    def close(self) -> None:
        """Forget everything at once."""
        self._stream.close()

    def _push(self, samples: Pcm) -> None:
        if len(samples):
            self._decoded += len(samples)
            self._stream.push(samples)


def _options(task: Task) -> StreamOptions:
    asked = task.parameters
    endpoint = EndpointOptions(max_sentence_silence_ms=task.max_sentence_silence_ms)
    return StreamOptions(endpoint, punctuate=asked.punctuation_prediction_enabled)
