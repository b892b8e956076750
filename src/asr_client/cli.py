"""The command line: `python AsrClient.py FILE...`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from asr_client.client import AsrClient
from asr_client.errors import AsrError
from asr_client.microphone import Microphone, load_sounddevice
from asr_client.protocol import DEFAULT_MODEL, DEFAULT_URL, __version__, websocket_url
from asr_client.subtitles import clock, to_json, to_srt, to_txt, to_vtt
from asr_client.types import Event, Final, Interim, Level, Parameters, Reconnecting, Sentence

WRITERS: dict[str, Callable[[Iterable[Sentence]], str]] = {
    "txt": to_txt,
    "srt": to_srt,
    "vtt": to_vtt,
    "json": to_json,
}


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="AsrClient.py", description="Recognise speech from files or the microphone."
    )
    add = parser.add_argument
    add("files", nargs="*", metavar="FILE", help="audio: wav, pcm, mp3, opus, flac, m4a ...")
    add("--mic", action="store_true", help="listen to the microphone until Ctrl-C")
    add("--device", help="microphone (number or name, see --devices)")
    add("--devices", action="store_true", help="list the microphones and leave")
    add("--url", default=os.environ.get("ASR_URL", DEFAULT_URL), help="default: %(default)s")
    add("--api-key", help="default: $ASR_API_KEY, or $DASHSCOPE_API_KEY for aliyuncs.com")
    add("--model", default=DEFAULT_MODEL, help="default: %(default)s")
    add("--rate", type=int, default=16000, metavar="HZ", help="of raw PCM (default: %(default)s)")
    add("--pace", type=float, metavar="X", help="send at X times real time (default: at once)")
    add("--silence", type=int, metavar="MS", help="silence that ends a sentence, 200-6000")
    add("--no-punctuation", action="store_true", help="no punctuation")
    add("--no-itn", action="store_true", help="numbers as spoken, not as digits")
    add("--hotword", action="append", default=[], metavar="WORD[:WEIGHT]", help="may be repeated")
    add("--vocabulary-id", help="a hotword list stored on the server")
    add("--interim", action="store_true", help="show the open sentence without rich, too")
    add("--times", action="store_true", help="print when each sentence begins and ends")
    add("--wire", action="store_true", help="print every message to stderr")
    for suffix in WRITERS:
        add(f"--{suffix}", metavar="OUT", help=f"write {suffix} to this file")
    add("--version", action="version", version=__version__)
    return parser


def _parameters(options: argparse.Namespace) -> Parameters:
    return Parameters(
        sample_rate=options.rate,
        max_sentence_silence=options.silence,
        punctuation_prediction_enabled=False if options.no_punctuation else None,
        inverse_text_normalization_enabled=False if options.no_itn else None,
        vocabulary_id=options.vocabulary_id,
        vocabulary=dict(map(_hotword, options.hotword)) or None,
    )


def _hotword(text: str) -> tuple[str, int]:
    word, _, weight = text.partition(":")
    return word, int(weight or 4)


def _api_key(options: argparse.Namespace) -> str | None:
    """Return the key; DashScope's goes to DashScope only."""
    if options.api_key:
        return str(options.api_key)
    host = urlsplit(websocket_url(options.url)).hostname or ""
    name = "DASHSCOPE_API_KEY" if host.endswith(".aliyuncs.com") else "ASR_API_KEY"
    return os.environ.get(name)


class _Screen:
    """Prints final sentences to stdout, the open one below where the terminal can show it."""

    def __init__(self, times: bool, interim: bool) -> None:
        self._times = times
        self._interim = interim
        self._live: Any = None
        self._level = ""
        self._text = ""
        with contextlib.suppress(ImportError):
            if sys.stdout.isatty():
                self._live = importlib.import_module("rich.live").Live(transient=True)

    def __enter__(self) -> _Screen:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, event: Event) -> None:
        """Draw one event."""
        if isinstance(event, Final) and event.sentence.text:
            self._update("")
            self._print(self._line(event.sentence))
        elif isinstance(event, Interim):
            self._update(event.sentence.text)
        elif isinstance(event, Level):
            self._level = "▁▂▃▄▅▆▇█"[min(7, max(0, int((event.rms_db + 60) / 7.5)))]
            if self._live and not self._text:
                self._update("")
        elif isinstance(event, Reconnecting):
            reason = f"{event.error}; next attempt in {event.delay_s:.1f} s"
            print(reason, file=sys.stderr)

    def _line(self, sentence: Sentence) -> str:
        if not self._times:
            return sentence.text
        span = f"{clock(sentence.begin_ms, '.')} - {clock(sentence.end_ms or 0, '.')}"
        return f"[{span}]  {sentence.text}"

    def _print(self, line: str) -> None:
        if self._live:
            self._live.console.print(line, markup=False, highlight=False)
        else:
            print(line, flush=True)

    def _update(self, text: str) -> None:
        self._text = text
        if self._live:
            text_class = importlib.import_module("rich.text").Text
            self._live.update(text_class(f"{self._level} {text}", style="dim"))
        elif self._interim and text:
            print(f"… {text}", file=sys.stderr, flush=True)


async def _recognise(options: argparse.Namespace) -> dict[str, list[Sentence]]:
    """Recognise one source after the other; return the sentences by name."""
    results: dict[str, list[Sentence]] = {}
    client = AsrClient(
        options.url,
        api_key=_api_key(options),
        model=options.model,
        parameters=_parameters(options),
        on_wire=_print_wire if options.wire else None,
    )
    async with client:
        with _Screen(options.times, options.interim) as screen:
            for name, source in _sources(options):
                sentences = results.setdefault(name, [])
                if len(options.files) > 1:
                    print(f"# {name}", flush=True)
                async for event in client.open(source, pace=options.pace):
                    screen.show(event)
                    if isinstance(event, Final) and event.sentence.text:
                        sentences.append(event.sentence)
    return results


def _sources(options: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    for name in options.files:
        yield name, name
    if options.mic:
        device = int(options.device) if (options.device or "").isdigit() else options.device
        microphone = Microphone(device)
        loop = asyncio.get_running_loop()

        def finish() -> None:
            microphone.stop()
            loop.remove_signal_handler(signal.SIGINT)  # a second Ctrl-C ends at once

        # Windows has no such handlers: there the first Ctrl-C ends at once.
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(signal.SIGINT, finish)
        print("listening; Ctrl-C ends", file=sys.stderr, flush=True)
        yield "microphone", microphone


def _print_wire(direction: str, message: str | bytes) -> None:
    text = message if isinstance(message, str) else f"<{len(message)} bytes>"
    print("->" if direction == "out" else "<-", text, file=sys.stderr)


def _write(options: argparse.Namespace, results: Mapping[str, list[Sentence]]) -> None:
    sentences = [sentence for part in results.values() for sentence in part]
    for suffix, writer in WRITERS.items():
        if target := getattr(options, suffix):
            Path(target).write_text(writer(sentences), encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = _arguments()
    options = parser.parse_args(arguments)
    if not options.files and not options.mic and not options.devices:
        parser.error("give a FILE or --mic")
    if len(options.files) + options.mic > 1 and (options.srt or options.vtt):
        parser.error("--srt and --vtt are for one recording")
    try:
        if options.devices:
            print(load_sounddevice().query_devices())
        else:
            _write(options, asyncio.run(_recognise(options)))
    except (AsrError, OSError) as error:
        print(f"AsrClient.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
