"""`asr-server evaluate`: the character error rate on recordings with transcripts."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from asr_client.errors import AsrError, Unauthorized
from asr_client.protocol import DEFAULT_MODEL, websocket_url, without_key
from asr_server.cli.options import (
    Device,
    Download,
    Dtype,
    ModelDir,
    choose_model,
    err,
    load_settings,
    log_warnings,
)

if TYPE_CHECKING:
    from asr_server.evaluation.data_sets import DataSet
    from asr_server.evaluation.running import Outcome
    from asr_server.evaluation.summary import Summary
    from asr_server.recordings.inprocess import InProcess
    from asr_server.recordings.recognise import Request

out = Console(highlight=False)

app = typer.Typer()

NEEDED = ("jinja2", "jiwer")
NEEDED_FOR_DIAGRAM = ("matplotlib",)
TOO_HIGH = 3
"""Exit status where the error rate is above `--max-cer`."""


@app.command(
    epilog="""
[bold]A SOURCE is one of[/]

my.jsonl                a manifest, one JSON object a line: {"file": "a.wav", "text": "今天天气"}

data_aishell/wav/test   a folder as AISHELL comes: recordings in wav/, transcript/*.txt

data/test               a Kaldi data directory: wav.scp and text

recordings/             a folder of recordings with a text file beside each: a.wav, a.txt

[bold]Examples[/]

asr-server evaluate my.jsonl --report report.html

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
    _need_libraries((*NEEDED, *NEEDED_FOR_DIAGRAM) if report or reliability else NEEDED)
    own = {
        "chunk_size": chunk_size,
        "dtype": dtype,
        "device": device,
        "model_dir": model_dir,
        "download": download,
    }
    if url and any(option is not None for option in own.values()):
        err.print(f"With --url that server decides on {', '.join(map(_option, own))}.")
        raise typer.Exit(2)
    if reliability and reliability.suffix not in (".png", ".svg"):
        raise typer.BadParameter("end it with .png or .svg", param_hint="--reliability")
    data_sets = _data_sets(sources, limit)

    parameters = {
        "inverse_text_normalization_enabled": itn,
        "punctuation_prediction_enabled": False,
        "word_confidence_enabled": True,
    }
    server = _server_at(url, api_key, model) if url else _server_here(streams, model=model, **own)
    server = replace(server, request=replace(server.request, parameters=parameters))
    try:
        outcomes, ran = asyncio.run(_run(data_sets, server, streams, normalise_numbers))
    except AsrError as exc:
        hint = "; see --api-key" if isinstance(exc, Unauthorized) else ""
        err.print(f"[bold red]Not measured:[/] {escape(str(exc))}{hint}", soft_wrap=True)
        raise typer.Exit(1) from exc

    from asr_server.evaluation.summary import summarise

    configuration = {
        **server.configuration,
        **ran,
        "streams at once": str(streams),
        "numbers": "as digits (ITN)" if itn else "as spoken",
        "29 and 二十九": "the same" if normalise_numbers else "different",
    }
    summaries = [summarise(outcome) for outcome in outcomes]
    _show(summaries, worst)
    _write(summaries, configuration, report, json_file, reliability)
    raise typer.Exit(_status(summaries, max_cer))


@dataclass(frozen=True, slots=True)
class _Server:
    """The server to measure."""

    running: AbstractAsyncContextManager["InProcess | None"]
    """Runs a server in this process, if it is not elsewhere."""
    request: "Request"
    configuration: dict[str, str]
    """For the reports."""


def _server_at(url: str, api_key: str | None, model: str | None) -> _Server:
    from asr_server.recordings.recognise import Request

    request = Request(model=model or DEFAULT_MODEL, url=url, api_key=api_key)
    configuration = {"server": without_key(websocket_url(url)), "model": request.model}
    return _Server(nullcontext(), request, configuration)


def _server_here(streams: int, **options: Any) -> _Server:
    settings = load_settings(**options)
    choice = choose_model(settings, show_notice=True)

    from asr_server.recordings.inprocess import bulk_settings, in_process
    from asr_server.recordings.recognise import Request

    configuration = {
        "model": choice.name,
        "chunk size": ",".join(map(str, settings.chunk_size)),
    }
    return _Server(in_process(bulk_settings(settings, streams), choice), Request(), configuration)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _need_libraries(names: Sequence[str]) -> None:
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        err.print(
            f"evaluate needs {' and '.join(missing)}:\n\n    pip install 'asr-server[tools]'\n",
            markup=False,
        )
        raise typer.Exit(2)


def _data_sets(sources: Sequence[Path], limit: int | None) -> list["DataSet"]:
    from asr_server.evaluation.data_sets import DataError, read_data_set

    try:
        found = [read_data_set(source) for source in sources]
    except DataError as exc:
        err.print(str(exc), markup=False, soft_wrap=True)
        raise typer.Exit(2) from exc
    return [data_set.sample(limit) for data_set in found] if limit else found


async def _run(
    data_sets: Sequence["DataSet"], server: _Server, streams: int, normalise_numbers: bool
) -> tuple[list["Outcome"], dict[str, str]]:
    """Return the outcomes, and the configuration that is known only of a running server."""
    from asr_server.evaluation.running import run

    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )
    async with server.running as connect:
        request = replace(server.request, connect=connect)
        ran = {"device": connect.device, "dtype": connect.dtype} if connect else {}
        with bars:
            outcomes = []
            for data_set in data_sets:
                bar = bars.add_task(escape(data_set.name), total=len(data_set.utterances))
                outcomes.append(
                    await run(
                        data_set,
                        request,
                        streams,
                        normalise_numbers=normalise_numbers,
                        on_done=partial(bars.advance, bar),
                    )
                )
            return outcomes, ran


def _show(summaries: Sequence["Summary"], worst: int) -> None:
    from asr_server.evaluation.table import FINER, OVERVIEW, comparison, finer, overview

    out.print(overview(summaries))
    out.print(OVERVIEW, style="dim")
    if table := finer(summaries):
        out.print("", table)
        out.print(FINER, style="dim")
    for summary in summaries:
        for one in summary.worst[:worst]:
            out.print(
                f"\n[bold]{escape(summary.name)}[/]  {escape(one.utterance.id)}  "
                f"{one.score.errors} of {one.score.characters} wrong",
                soft_wrap=True,
            )
            for line in comparison(one.score):
                out.print(line, soft_wrap=True)
    for summary in summaries:
        for failed in summary.failed:
            err.print(f"{failed.utterance.audio}: {failed.reason}", markup=False, soft_wrap=True)
        if summary.left_out:
            err.print(f"{summary.name}: {summary.left_out} recordings without a transcript.")


def _write(
    summaries: Sequence["Summary"],
    configuration: dict[str, str],
    report: Path | None,
    json_file: Path | None,
    reliability: Path | None,
) -> None:
    from asr_server.evaluation import report as page
    from asr_server.evaluation.results_json import to_json

    files: list[tuple[Path, bytes]] = []
    if report:
        html = page.to_html(summaries, configuration, datetime.now())
        files.append((report, html.encode()))
    if json_file:
        files.append((json_file, to_json(summaries, configuration).encode()))
    if reliability and page.has_confidences(summaries):
        suffix = reliability.suffix.removeprefix(".")
        files.append((reliability, page.reliability_diagram(summaries, suffix)))
    elif reliability:
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
