"""`asr-server transcribe`: recordings to text, without a server."""

import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import TaskID, TextColumn

from asr_server.audio.units import SAMPLE_RATE
from asr_server.cli.options import (
    Device,
    Download,
    Dtype,
    Model,
    ModelDir,
    err,
    log_warnings,
    progress_bars,
    server_here,
)
from asr_server.recordings.files import RecordingError, open_recording
from asr_server.recordings.recognise import Request
from asr_server.recordings.transcripts import Format, Transcript, formatted, line, transcribe

app = typer.Typer()


@app.command(
    name="transcribe",
    epilog="""
[bold]Examples[/]

asr-server transcribe meeting.wav

asr-server transcribe film.mp4 --format srt > film.srt

asr-server transcribe *.m4a --format srt --output-dir subtitles

asr-server transcribe call.wav --format json --confidence | jq .sentences

ffmpeg -i rtsp://camera -f wav - | asr-server transcribe - --times

sox -d -t raw -r 16k -c 1 -b 16 -e signed - | asr-server transcribe - --input-format pcm

[bold]Exit status[/]: 0 everything is transcribed, 1 something is not, 2 the command is wrong.
""",
)
def transcribe_command(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Sound or video of any format; - is stdin."),
    ],
    model: Model = None,
    format: Annotated[Format, typer.Option(help="Format of the transcript.")] = "text",
    output_dir: Annotated[
        Path | None, typer.Option(help="A file for each recording here, and nothing on stdout.")
    ] = None,
    times: Annotated[bool, typer.Option(help="Put each sentence's time before it.")] = False,
    confidence: Annotated[
        bool, typer.Option(help="Give each word's confidence in the JSON.")
    ] = False,
    itn: Annotated[
        bool, typer.Option("--itn/--no-itn", help="Write numbers as digits, or as spoken.")
    ] = True,
    punctuation: Annotated[
        bool, typer.Option("--punctuation/--no-punctuation", help="Set punctuation marks.")
    ] = True,
    streams: Annotated[int, typer.Option(min=1, help="Recordings recognised at once.")] = 16,
    input_format: Annotated[
        str, typer.Option(help="Of stdin, where the first bytes do not state it: pcm, wav, mp3 ...")
    ] = "wav",
    sample_rate: Annotated[int, typer.Option(help="Hz of raw samples (pcm).")] = SAMPLE_RATE,
    device: Device = None,
    dtype: Dtype = None,
    model_dir: ModelDir = None,
    download: Download = None,
) -> None:
    """Transcribe recordings, without a server."""
    _check(files, format, output_dir)
    if faults := _faults(files):  # before a model is loaded for nothing
        for fault in faults:
            err.print(fault, markup=False, soft_wrap=True)
        raise typer.Exit(1)
    log_warnings()
    running, _ = server_here(
        streams, model=model, device=device, dtype=dtype, model_dir=model_dir, download=download
    )
    parameters = {
        "inverse_text_normalization_enabled": itn,
        "punctuation_prediction_enabled": punctuation,
        "word_confidence_enabled": confidence,
    }
    at_once = format == "text" and output_dir is None
    if output_dir is not None:
        output_dir.mkdir(parents=True, exist_ok=True)
    bars = progress_bars(
        TextColumn("{task.percentage:>3.0f} %"),
        shown=not (at_once and sys.stdout.isatty()),
    )
    tasks: dict[Transcript, TaskID] = {}

    def show_progress(transcript: Transcript, share: float | None) -> None:
        """Move the recording's bar, a pulse where the duration is unknown; None hides it."""
        if transcript not in tasks:
            total = 1.0 if transcript.duration_s else None
            tasks[transcript] = bars.add_task(escape(transcript.path.name), total=total)
        bars.update(tasks[transcript], completed=share, visible=share is not None)

    def finish(transcript: Transcript) -> None:
        if transcript.error:
            err.print(f"{transcript.name}: {transcript.error}", markup=False, soft_wrap=True)
        elif output_dir is not None:
            path = _target(output_dir, transcript.path, format)
            path.write_text(formatted(transcript, format, times=times), "utf-8")
            err.print(f"written: {path}", markup=False, soft_wrap=True)
        elif not at_once:
            print(formatted(transcript, format), end="", flush=True)

    async def run() -> bool:
        """Return whether everything is transcribed."""
        complete = True
        async with running as connect:
            request = Request(parameters, connect=connect)
            results = transcribe(files, request, streams, show_progress, input_format, sample_rate)
            async with aclosing(results):
                async for transcript, sentence in results:
                    if sentence is None:
                        finish(transcript)
                        complete = complete and not transcript.error
                    elif at_once:
                        if len(files) > 1 and sentence is transcript.sentences[0]:
                            print(f"{transcript.name}:")
                        print(line(sentence, times=times), flush=True)
        return complete

    with bars:
        complete = asyncio.run(run())
    raise typer.Exit(0 if complete else 1)


def _check(files: Sequence[Path], format: Format, output_dir: Path | None) -> None:
    """Exit with 2 where the output of several recordings would be one."""
    if output_dir is None:
        if len(files) > 1 and format in ("srt", "vtt"):
            err.print(f"--format {format} of several recordings needs --output-dir.")
            raise typer.Exit(2)
        return
    counted = Counter(_target(output_dir, file, format) for file in files)
    for path, count in counted.items():
        if count > 1:
            err.print(f"{count} recordings would be written to {path}.", markup=False)
            raise typer.Exit(2)


def _faults(files: Sequence[Path]) -> list[str]:
    """Return what is wrong with each of the files, nothing if one of them is a recording."""
    faults = []
    for file in files:
        try:
            open_recording(file)
        except RecordingError as exc:
            faults.append(f"{file}: {exc}")
        else:
            return []
    return faults


def _target(output_dir: Path, recording: Path, format: Format) -> Path:
    stem = "stdin" if str(recording) == "-" else recording.stem
    return output_dir / f"{stem}.{'txt' if format == 'text' else format}"
