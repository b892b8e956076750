"""`asr-server evaluate`: the character error rate on recordings with transcripts."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from datetime import datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import MofNCompleteColumn

from asr_client.errors import AsrError, Unauthorized
from asr_client.protocol import DEFAULT_MODEL, websocket_url, without_key
from asr_server import command
from asr_server.cli.options import (
    Device,
    Download,
    Dtype,
    ModelDir,
    err,
    log_warnings,
    progress_bars,
    server_here,
)
from asr_server.recordings.files import RecordingError
from asr_server.recordings.recognise import Request

if TYPE_CHECKING:
    from asr_server.evaluation.comparison import Comparison
    from asr_server.evaluation.data_sets import DataSet
    from asr_server.evaluation.summary import Summary
    from asr_server.recordings.inprocess import InProcess

out = Console(highlight=False)

app = typer.Typer()

TOO_HIGH = 3
"""Exit status where the error rate is above `--max-cer`."""


@app.command(
    epilog="""
[bold]A SOURCE is one of[/]

my.jsonl, my.json       a manifest, JSON objects one a line or in a list: {"file": "a.wav", "text":
"今天天气"}

data_aishell/wav/test   a folder as AISHELL comes: recordings in wav/, transcript/*.txt

data/test               a Kaldi data directory: wav.scp and text

recordings/             a folder of recordings with a text file beside each: a.wav, a.txt

[bold]Examples[/]

asr-server evaluate my.jsonl --report report.html

asr-server evaluate my.jsonl --compare --hotwords names.txt       what the second pass changes

asr-server evaluate my.jsonl --dtype int8 --chunk-size 0,8,4      another configuration

asr-server evaluate calls/ --url ws://asr.example.com:8000        a running server

asr-server evaluate test.jsonl --max-cer 5                        in CI: exit status 3 above 5 %

[bold]Exit status[/]: 0 measured, 1 something could not be recognised, 2 the command or the data is
wrong, 3 the error rate is above --max-cer.
"""
)
def evaluate(
    sources: Annotated[
        list[Path], typer.Argument(metavar="SOURCE...", help="Recordings with transcripts.")
    ],
    model: Annotated[
        str | None,
        typer.Option(
            help="A model's name, its hub id, a directory, or `demo`; "
            "with --url the model name in the request."
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(help="Measure the server at this address, not one in this process."),
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="ASR_API_KEY", help="The key for --url.")
    ] = None,
    chunk_size: Annotated[
        str | None, typer.Option(help="0,10,5 (600 ms) or the quicker 0,8,4.", show_default=False)
    ] = None,
    dtype: Dtype = None,
    device: Device = None,
    streams: Annotated[int, typer.Option(min=1, help="Recordings recognised at once.")] = 16,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="No more than so many of each SOURCE, drawn at random."),
    ] = None,
    itn: Annotated[bool, typer.Option("--itn/--no-itn", help="Write numbers as digits.")] = False,
    normalise_numbers: Annotated[
        bool,
        typer.Option(
            "--normalise-numbers",
            help="Count 29 and 二十九 as the same, for transcripts with digits in them.",
        ),
    ] = False,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Recognise all twice, without and with the second pass."),
    ] = False,
    hotwords: Annotated[
        Path | None, typer.Option(help="Words to favour, one a line, each with a weight or not.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a page with all results, one HTML file.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write all results for other programs.")
    ] = None,
    reliability: Annotated[
        Path | None,
        typer.Option(help="Write the reliability diagram of confidences: .png or .svg."),
    ] = None,
    worst: Annotated[
        int, typer.Option(min=0, help="Recordings to show of those with the most errors.")
    ] = 5,
    max_cer: Annotated[
        float | None, typer.Option(min=0, help="Per cent above which the exit status is 3.")
    ] = None,
    model_dir: ModelDir = None,
    download: Download = None,
) -> None:
    """Measure the character error rate (CER) on recordings with transcripts.

    Every recording is a task of a client: the protocol, the decoder, the voice activity detector,
    the batched engine. Punctuation, width, case and spaces do not count.
    """
    log_warnings()
    needed = ("jinja2", "jiwer", *(("matplotlib",) if report or reliability else ()))
    if missing := [name for name in needed if find_spec(name) is None]:
        err.print(
            f"evaluate needs {' and '.join(missing)}:\n\n"
            f"    {command.python()} -m pip install {' '.join(missing)}\n",
            markup=False,
            soft_wrap=True,
        )
        raise typer.Exit(2)
    own = {
        "chunk_size": chunk_size,
        "dtype": dtype,
        "device": device,
        "model_dir": model_dir,
        "download": download,
    }
    if url and any(option is not None for option in own.values()):
        options = ", ".join(f"--{name.replace('_', '-')}" for name in own)
        err.print(f"With --url that server decides on {options}.")
        raise typer.Exit(2)
    if reliability and reliability.suffix not in (".png", ".svg"):
        raise typer.BadParameter("end it with .png or .svg", param_hint="--reliability")

    from asr_server.evaluation.comparison import compare_runs, read_hotwords, recall
    from asr_server.evaluation.data_sets import read_data_set
    from asr_server.evaluation.table import show, show_comparisons

    try:
        data_sets = [read_data_set(source) for source in sources]
        words = read_hotwords(hotwords) if hotwords else {}
    except RecordingError as exc:
        err.print(str(exc), markup=False, soft_wrap=True)
        raise typer.Exit(2) from exc
    if limit:
        data_sets = [data_set.sample(limit) for data_set in data_sets]
    parameters = {
        "inverse_text_normalization_enabled": itn,
        "punctuation_prediction_enabled": False,
        "word_confidence_enabled": True,
        **({"vocabulary": dict(words)} if words else {}),
    }
    request = Request(parameters)
    running: AbstractAsyncContextManager[InProcess | None] = nullcontext()
    if url:
        request = Request(parameters, model or DEFAULT_MODEL, url, api_key)
        configuration = {"server": without_key(websocket_url(url)), "model": request.model}
    else:
        running, configuration = server_here(streams, model=model, **own)
    try:
        runs, ran = asyncio.run(
            _measure(data_sets, running, request, streams, normalise_numbers, compare)
        )
    except AsrError as exc:
        hint = "; see --api-key" if isinstance(exc, Unauthorized) else ""
        err.print(f"[bold red]Not measured:[/] {escape(str(exc))}{hint}", soft_wrap=True)
        raise typer.Exit(1) from exc

    summaries = runs[-1]
    comparisons = compare_runs(runs[0], summaries, words) if compare else []
    configuration |= {
        **ran,
        "streams at once": str(streams),
        "numbers": "as digits (ITN)" if itn else "as spoken",
        "29 and 二十九": "the same" if normalise_numbers else "different",
    }
    show(out, summaries, worst)
    if comparisons:
        show_comparisons(out, comparisons)
    elif words:
        found = [recall(summary, words) for summary in summaries]
        spoken, recognised = sum(one.spoken for one in found), sum(one.recognised for one in found)
        out.print(f"\nhotwords: {recognised} of {spoken} recognised")
    for summary in summaries:
        for failed in summary.failed:
            err.print(f"{failed.utterance.audio}: {failed.reason}", markup=False, soft_wrap=True)
        if left_out := summary.recordings_without_transcript:
            err.print(f"{summary.name}: {left_out} recordings without a transcript.")
    _write(summaries, comparisons, configuration, report, json_file, reliability)
    raise typer.Exit(_status(summaries, max_cer))


async def _measure(
    data_sets: Sequence["DataSet"],
    running: AbstractAsyncContextManager["InProcess | None"],
    request: Request,
    streams: int,
    normalise_numbers: bool,
    compare: bool,
) -> tuple[list[list["Summary"]], dict[str, str]]:
    """Return the summaries of each run, and what is known only of a running server.

    To `compare`, the first run is without the second pass and the last with it.
    """
    from asr_server.evaluation.running import measure

    runs: list[list[Summary]] = []
    choices = [{"second_pass_enabled": choice} for choice in (False, True)] if compare else [{}]
    async with running as connect:
        if compare and connect and connect.no_second_pass:
            err.print(f"There is no second pass to compare: {connect.no_second_pass}.")
            raise typer.Exit(2)
        with progress_bars(MofNCompleteColumn()) as bars:
            for choice in choices:
                parameters = {**request.parameters, **choice}
                run = replace(request, connect=connect, parameters=parameters)
                runs.append([])
                for data_set in data_sets:
                    bar = bars.add_task(escape(data_set.name), total=len(data_set.utterances))
                    on_done = partial(bars.advance, bar)
                    runs[-1].append(
                        await measure(data_set, run, streams, normalise_numbers, on_done)
                    )
    if connect is None:
        return runs, {}
    second_pass_runs = "no" if connect.no_second_pass else "yes"
    ran = {"device": connect.device, "dtype": connect.dtype, "second pass": second_pass_runs}
    return runs, ran


def _write(
    summaries: Sequence["Summary"],
    comparisons: Sequence["Comparison"],
    configuration: dict[str, str],
    report: Path | None,
    json_file: Path | None,
    reliability: Path | None,
) -> None:
    from asr_server.evaluation.reliability import reliability_diagram
    from asr_server.evaluation.report import to_html, to_json

    files: list[tuple[Path, bytes]] = []
    if report:
        files.append((report, to_html(summaries, configuration, datetime.now()).encode()))
    if json_file:
        files.append((json_file, to_json(summaries, configuration, comparisons).encode()))
    if reliability:
        if image := reliability_diagram(summaries, reliability.suffix.removeprefix(".")):
            files.append((reliability, image))
        else:
            err.print("--reliability: the server sends no confidences.")
    for path, content in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        err.print(f"written: {path}", soft_wrap=True)


def _status(summaries: Sequence["Summary"], max_cer: float | None) -> int:
    if any(summary.failed for summary in summaries):
        return 1
    above = [s for s in summaries if max_cer is not None and 100 * s.cer > max_cer]
    for summary in above:
        err.print(
            f"[bold red]{escape(summary.name)}: CER {summary.cer:.2%} is above {max_cer:g} %.[/]"
        )
    return TOO_HIGH if above else 0
