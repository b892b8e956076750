"""Define the model names that clients ask for, and how their families differ in the protocol.

Every name is served by the one model that this server runs; it chooses defaults and shapes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from asr_server.errors import ModelNotFound


@dataclass(frozen=True, slots=True)
class Family:
    """Hold what the models of one DashScope family have in common."""

    max_sentence_silence_ms: int
    """Silence that ends a sentence unless the task sets another."""
    transcribes: bool = False
    """Results are `transcription` objects (Gummy), not `sentence` objects."""
    first_sentence_id: int = 1
    single_sentence: bool = False
    """A task recognises one sentence, and ignores the audio behind it."""
    interim: bool = True
    """Interim results are sent unless the task asks for none."""
    counts_tokens: bool = False
    """`usage` counts tokens besides seconds."""
    lacks: frozenset[str] = frozenset()
    """Parameters that the models do not have: they are ignored."""
    longest_s: float = math.inf
    """Seconds of audio that a task may have at most."""
    second_pass: bool = True
    """An offline model, where there is one, corrects finals."""


PARAFORMER = Family(max_sentence_silence_ms=800)
FUN_ASR = Family(max_sentence_silence_ms=1300)
QWEN = Family(max_sentence_silence_ms=1300, counts_tokens=True)
QWEN_MESSAGE = replace(
    QWEN,
    interim=False,
    lacks=frozenset(
        {
            "language_hints",
            "multi_threshold_mode_enabled",
            "semantic_punctuation_enabled",
            "special_word_filter",
        }
    ),
)
GUMMY = Family(max_sentence_silence_ms=800, transcribes=True, first_sentence_id=0)
GUMMY_CHAT = replace(GUMMY, max_sentence_silence_ms=700, single_sentence=True, longest_s=60)

MODELS: dict[str, Family] = {
    "paraformer-realtime-v2": PARAFORMER,
    "paraformer-realtime-8k-v2": PARAFORMER,
    "paraformer-realtime-v1": PARAFORMER,
    "paraformer-realtime-8k-v1": PARAFORMER,
    # A name of ours, for clients that can choose a model but no parameter; FunASR's runtime calls
    # the streaming model alone "online".
    "paraformer-realtime-v2-online": replace(PARAFORMER, second_pass=False),
    "fun-asr-realtime": FUN_ASR,
    "fun-asr-realtime-2026-02-28": FUN_ASR,
    "fun-asr-realtime-2025-11-07": FUN_ASR,
    "fun-asr-realtime-2025-09-15": FUN_ASR,
    "fun-asr-flash-8k-realtime": FUN_ASR,
    "fun-asr-flash-8k-realtime-2026-01-28": FUN_ASR,
    "qwen-audio-3.0-asr-flash-streaming": FUN_ASR,
    "qwen-audio-3.1-asr-flash-streaming": QWEN,
    "qwen-audio-3.1-asr-flash-message": QWEN_MESSAGE,
    "gummy-realtime-v1": GUMMY,
    "gummy-chat-v1": GUMMY_CHAT,
}


QWEN_REALTIME = Family(max_sentence_silence_ms=800)
OPENAI = Family(max_sentence_silence_ms=500)

REALTIME_MODELS: dict[str, Family] = {
    "qwen3-asr-flash-realtime": QWEN_REALTIME,
    "qwen3-asr-flash-realtime-2025-10-27": QWEN_REALTIME,
    "qwen3-asr-flash-realtime-2026-02-10": QWEN_REALTIME,
    "gpt-4o-transcribe": OPENAI,
    "gpt-4o-mini-transcribe": OPENAI,
    "gpt-4o-mini-transcribe-2025-12-15": OPENAI,
    "gpt-transcribe": OPENAI,
    "gpt-live-transcribe": OPENAI,
    "gpt-realtime-whisper": OPENAI,
    "whisper-1": OPENAI,
}
"""Names that clients of the Realtime and of OpenAI's HTTP interface use."""


def find(name: str, aliases: Mapping[str, str]) -> Family:
    """Return a model's family, whatever its name's case; `aliases` maps further names to these.

    Raises ModelNotFound.
    """
    try:
        key = aliases.get(name, name).strip().lower()
        return MODELS[key] if key in MODELS else REALTIME_MODELS[key]
    except KeyError:
        raise ModelNotFound(name) from None
