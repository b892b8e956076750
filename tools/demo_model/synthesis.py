"""Speech from text with libespeak-ng, in process; its events have the times of the characters."""

import ctypes
from dataclasses import dataclass

import numpy as np
import soxr

from .pinyin import spoken
from .voices import BASE_VOICE, Voice

SAMPLE_RATE = 16_000
_ESPEAK_RATE = 22_050

# espeak-ng speak_lib.h
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_PHONEME_EVENTS = 1
_CHARS_UTF8 = 1
_EVENT_PHONEME = 7
_PARAMETER_RATE, _PARAMETER_PITCH, _PARAMETER_RANGE = 1, 3, 4


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@dataclass(frozen=True, slots=True)
class Utterance:
    """One spoken sentence: samples at 16 kHz in [-1, 1], and when each character begins and ends.

    Times are samples from the first sample; the sound begins with the first character.
    """

    samples: np.ndarray
    begins: np.ndarray
    ends: np.ndarray


class Synthesiser:
    """The library is a process-wide singleton, so is this; make one per process."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libespeak-ng.so.1")
        rate = self._library.espeak_Initialize(
            _AUDIO_OUTPUT_SYNCHRONOUS, 0, None, _INITIALIZE_PHONEME_EVENTS
        )
        if rate != _ESPEAK_RATE:
            raise RuntimeError(f"espeak-ng runs at {rate} Hz, not {_ESPEAK_RATE}")
        self._pieces: list[np.ndarray] = []
        self._phonemes: list[tuple[int, bytes]] = []
        # The library keeps the pointer, so the callback object must live as long as we do.
        self._callback = _CALLBACK(self._receive)
        self._library.espeak_SetSynthCallback(self._callback)
        self._variant = ""

    def _receive(self, wave, count: int, events) -> int:  # noqa: ANN001
        if wave and count > 0:
            self._pieces.append(np.ctypeslib.as_array(wave, (count,)).copy())
        index = 0
        while events[index].type:
            event = events[index]
            if event.type == _EVENT_PHONEME:
                self._phonemes.append((event.sample, bytes(event.id.string)))
            index += 1
        return 0

    def say(self, text: str, voice: Voice) -> Utterance | None:
        """Speak a sentence; None when the events do not account for every character."""
        if voice.variant != self._variant:
            name = f"{BASE_VOICE}+{voice.variant}".encode()
            if self._library.espeak_SetVoiceByName(name) != 0:
                raise RuntimeError(f"espeak-ng has no voice {name.decode()}")
            self._variant = voice.variant
        self._library.espeak_SetParameter(_PARAMETER_RATE, voice.rate, 0)
        self._library.espeak_SetParameter(_PARAMETER_PITCH, voice.pitch, 0)
        self._library.espeak_SetParameter(_PARAMETER_RANGE, voice.inflection, 0)
        self._pieces.clear()
        self._phonemes.clear()
        pinyin = spoken(text)
        encoded = pinyin.encode()
        self._library.espeak_Synth(encoded, len(encoded) + 1, 0, 0, 0, _CHARS_UTF8, None, None)
        self._library.espeak_Synchronize()
        count = sum(character.isdigit() for character in pinyin)
        begins, ends = self._boundaries()
        if len(ends) != count or not self._pieces:
            return None
        samples = soxr.resample(
            np.concatenate(self._pieces).astype(np.float32) / 32768, _ESPEAK_RATE, SAMPLE_RATE, "MQ"
        )
        scale = SAMPLE_RATE / _ESPEAK_RATE
        begins = np.round(np.array(begins) * scale).astype(np.int64)
        ends = np.round(np.array(ends) * scale).astype(np.int64)
        ends = np.minimum(ends, len(samples))
        return Utterance(samples, begins, ends)

    def _boundaries(self) -> tuple[list[int], list[int]]:
        """Begin and end of each syllable; "_|" ends one, other "_" phonemes are pauses."""
        begins: list[int] = []
        ends: list[int] = []
        open_at: int | None = None
        for sample, name in self._phonemes:
            if name.startswith(b"_|"):
                if open_at is not None:
                    begins.append(open_at)
                    ends.append(sample)
                    open_at = None
            elif not name.startswith(b"_") and open_at is None:
                open_at = sample
        return begins, ends
