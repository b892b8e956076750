"""Define a Realtime session's configuration, its defaults, and how an update changes it.

OpenAI's shape, its beta and Qwen-ASR's differ in names and defaults, not in meaning. Updates may be
flat, as those of the beta and of Qwen-ASR are, or nested (`session.audio.input`), as those of
OpenAI and of newer Qwen SDKs; `Dialect` holds the other differences.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from asr_server.errors import ClientError
from asr_server.protocol.commands import MOST_IGNORED, Parameters, RunTask
from asr_server.protocol.refusals import LONGEST_NAME
from asr_server.settings import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE

SHORTEST_SILENCE_MS, LONGEST_SILENCE_MS = 200, 6000
LONGEST_PADDING_MS = 2000
LONGEST_PROMPT = 10_000
"""Characters of a prompt or a corpus."""
MANUAL_SILENCE_MS = 6000
"""Silence that divides the audio without server VAD, unseen by the client: the longest there is."""
MOST_KEYWORDS = 500
KEYWORD_WEIGHT = 4


class InvalidEvent(ClientError):
    """Report an event that cannot be served; the session goes on."""

    code = "InvalidParameter"

    def __init__(self, message: str, param: str | None = None, code: str = "invalid_value") -> None:
        super().__init__(message)
        self.param = param
        self.reason = code


@dataclass(frozen=True, slots=True)
class Dialect:
    """Hold what differs between the three shapes."""

    name: str
    """The door's name in logs and metrics."""
    model: str
    """The model of a session that names none."""
    sample_rate: int
    """Hz of PCM by default."""
    silence_ms: int
    threshold: tuple[float, float, float]
    """Lowest, default and highest VAD threshold."""


QWEN = Dialect("qwen-realtime", "qwen3-asr-flash-realtime", 16_000, 800, (-1.0, 0.2, 1.0))
OPENAI = Dialect("openai-realtime", "gpt-4o-transcribe", 24_000, 500, (0.0, 0.5, 1.0))
BETA = replace(OPENAI, name="openai-realtime-beta")

FORMATS = {
    "pcm": "pcm", "pcm16": "pcm", "audio/pcm": "pcm", "wav": "wav", "opus": "opus",
    "g711_ulaw": "mulaw", "audio/pcmu": "mulaw", "g711_alaw": "alaw", "audio/pcma": "alaw",
}  # fmt: skip
"""A task's `format` by the name in a session."""
TELEPHONE_RATE = 8000

KNOWN = frozenset(
    "type id object model audio format transcription turn_detection input_audio_format sample_rate"
    " input_audio_transcription modalities output_modalities voice output_audio_format".split()
)
"""Names in a session that have an effect, or that every SDK sends."""


@dataclass(frozen=True, slots=True)
class ServerVad:
    """Hold when the server ends a sentence by itself."""

    threshold: float
    silence_duration_ms: int
    prefix_padding_ms: int = 300


@dataclass(frozen=True, slots=True)
class Config:
    """Hold the configuration of one session."""

    model: str
    format_name: str
    """As the client names it; `FORMATS` gives the decoder's name."""
    sample_rate: int
    vad: ServerVad | None
    """None: only a commit ends a sentence."""
    language: str | None = None
    prompt: str | None = None
    keywords: tuple[str, ...] = ()
    vocabulary_id: str | None = None
    ignored: tuple[str, ...] = ()
    """Names in updates that have no effect, for the log."""

    @property
    def format(self) -> str:
        """Return the `format` of this session's tasks."""
        return FORMATS[self.format_name]

    @property
    def telephone(self) -> bool:
        """Return whether the audio is G.711, whose sample rate is fixed."""
        return self.format in ("mulaw", "alaw")

    @property
    def bytes_per_s(self) -> int:
        """Return the bytes of a second of raw audio; 0 for audio with a header."""
        if self.telephone:
            return self.sample_rate
        return 2 * self.sample_rate if self.format == "pcm" else 0


def default_config(dialect: Dialect, model: str | None) -> Config:
    """Return the configuration of a session that has just begun."""
    name = "pcm" if dialect is QWEN else "pcm16" if dialect is BETA else "audio/pcm"
    return Config(model or dialect.model, name, dialect.sample_rate, default_vad(dialect))


def default_vad(dialect: Dialect) -> ServerVad:
    """Return what ends a sentence unless the session sets it."""
    return ServerVad(dialect.threshold[1], dialect.silence_ms)


def run_task(config: Config, dialect: Dialect, task_id: str) -> RunTask:
    """Return the command that starts a task of a session."""
    silence_ms, noise = MANUAL_SILENCE_MS, 0.0
    if config.vad:
        low, middle, high = dialect.threshold
        above = config.vad.threshold - middle
        noise = above / ((high - middle) if above > 0 else (middle - low))
        silence_ms = config.vad.silence_duration_ms
    parameters = Parameters(
        format=config.format,
        sample_rate=config.sample_rate,
        max_sentence_silence=silence_ms,
        speech_noise_threshold=noise,
        heartbeat=True,  # a session may be silent without limit
        vocabulary={word: KEYWORD_WEIGHT for word in config.keywords},
        vocabulary_id=config.vocabulary_id,
    )
    context = (config.prompt,) if config.prompt else ()
    return RunTask(task_id, config.model, parameters, context=context, ignored=config.ignored)


# Updates ------------------------------------------------------------------------------------------


def updated(config: Config, session: Mapping[str, Any], dialect: Dialect) -> Config:
    """Return the configuration after an update, or raise InvalidEvent; what it omits stays."""
    kind = session.get("type")
    if kind not in (None, "transcription"):
        raise unsupported("session.type", kind, ("transcription",))
    inner = _object(_object(session, "audio", "session"), "input", "session.audio")
    if "model" in session:
        config = replace(config, model=_text(session["model"], "session.model") or config.model)
    for prefix, source, names in (
        ("session", session, ("input_audio_format", "input_audio_transcription")),
        ("session.audio.input", inner, ("format", "transcription")),
    ):
        form, transcription = names
        if source.get(form) is not None:
            config = _with_format(config, source[form], f"{prefix}.{form}", dialect)
        if source.get("sample_rate") is not None:
            config = _with_rate(config, source["sample_rate"], f"{prefix}.sample_rate")
        if source.get(transcription) is not None:
            config = _with_transcription(config, source, prefix, transcription)
        if "turn_detection" in source:
            config = replace(config, vad=_vad(config.vad, source, prefix, dialect))
    given = {name for part in (session, inner) for name in part if part[name] is not None}
    unknown = filter(presentable, given - KNOWN)
    ignored = sorted({*config.ignored, *unknown})[:MOST_IGNORED]
    return replace(config, ignored=tuple(ignored))


def _with_format(config: Config, value: Any, param: str, dialect: Dialect) -> Config:
    name, rate = value, None
    if isinstance(value, dict):
        name, param = value.get("type"), f"{param}.type"
        rate = value.get("rate", value.get("sample_rate"))
    if not isinstance(name, str) or name not in FORMATS:
        raise unsupported(param, name, tuple(FORMATS))
    before, config = config, replace(config, format_name=name)
    if config.telephone:
        return replace(config, sample_rate=TELEPHONE_RATE)
    if rate is not None:
        return _with_rate(config, rate, param.removesuffix(".type") + ".rate")
    return replace(config, sample_rate=dialect.sample_rate) if before.telephone else config


def _with_rate(config: Config, rate: Any, param: str) -> Config:
    if type(rate) is not int or not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
        limits = f"{MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz"
        raise InvalidEvent(f"Invalid value of '{param}': it must be {limits}.", param)
    return config if config.telephone else replace(config, sample_rate=rate)


def _with_transcription(
    config: Config, source: Mapping[str, Any], prefix: str, name: str
) -> Config:
    given, param = _object(source, name, prefix), f"{prefix}.{name}"
    corpus = _object(given, "corpus", param)
    given = {"prompt": corpus.get("text"), **given}
    changes: dict[str, Any] = {}
    for field, longest in (
        ("model", LONGEST_NAME),
        ("language", LONGEST_NAME),
        ("prompt", LONGEST_PROMPT),
        ("vocabulary_id", LONGEST_NAME),
    ):
        if given.get(field) is not None:
            changes[field] = _text(given[field], f"{param}.{field}", longest)
    if given.get("keywords") is not None:
        words = given["keywords"]
        if not isinstance(words, list) or len(words) > MOST_KEYWORDS:
            raise InvalidEvent(f"'{param}.keywords' must be at most {MOST_KEYWORDS} words.", param)
        changes["keywords"] = tuple(_text(word, f"{param}.keywords") or "" for word in words)
    changes["model"] = changes.get("model") or config.model
    return replace(config, **changes)


def _vad(
    current: ServerVad | None, source: Mapping[str, Any], prefix: str, dialect: Dialect
) -> ServerVad | None:
    if source["turn_detection"] is None:
        return None
    param = f"{prefix}.turn_detection"
    given = _object(source, "turn_detection", prefix)
    kind = given.get("type", "server_vad")
    if kind not in ("server_vad", "semantic_vad"):
        raise unsupported(f"{param}.type", kind, ("server_vad", "semantic_vad"))
    vad = current or default_vad(dialect)
    low, _, high = dialect.threshold
    return ServerVad(
        _number(given, "threshold", vad.threshold, low, high, param),
        round(
            _number(
                given,
                "silence_duration_ms",
                vad.silence_duration_ms,
                SHORTEST_SILENCE_MS,
                LONGEST_SILENCE_MS,
                param,
            )
        ),
        round(
            _number(given, "prefix_padding_ms", vad.prefix_padding_ms, 0, LONGEST_PADDING_MS, param)
        ),
    )


def _number(
    given: Mapping[str, Any], name: str, default: float, low: float, high: float, parent: str
) -> float:
    value = given.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        param = f"{parent}.{name}"
        raise InvalidEvent(
            f"Invalid value of '{param}': it must be a number from {low:g} to {high:g}.", param
        )
    return value


def _text(value: Any, param: str, longest: int = LONGEST_NAME) -> str | None:
    if value is None or value == "":
        return None
    try:
        if isinstance(value, str) and len(value) <= longest and value.encode():
            return value
    except UnicodeEncodeError:  # a lone surrogate
        pass
    raise InvalidEvent(
        f"Invalid value of '{param}': it must be text of at most {longest} characters.", param
    )


def _object(source: Mapping[str, Any], name: str, parent: str) -> Mapping[str, Any]:
    value = source.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidEvent(f"'{parent}.{name}' must be an object.", f"{parent}.{name}")
    return value


def unsupported(param: str, value: Any, supported: tuple[str, ...]) -> InvalidEvent:
    """Return the error for a value that is none of those supported."""
    shown = f"'{value}'" if presentable(value) else "of another kind"
    names = ", ".join(f"'{name}'" for name in supported)
    return InvalidEvent(f"Invalid value: {shown}. Supported values are: {names}.", param)


def presentable(value: Any) -> bool:
    """Return whether a value is short text that a message may repeat."""
    return isinstance(value, str) and 0 < len(value) <= LONGEST_NAME and value.isprintable()
