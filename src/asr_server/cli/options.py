"""Options that commands share, the settings made from them, and the choice of the model."""

import logging
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from asr_server import command
from asr_server.cli.language import _
from asr_server.configuration import read
from asr_server.models.catalog import ModelError
from asr_server.models.download import Progress as OnProgress
from asr_server.models.registry import DEMO_NOTICE, Choice, choose
from asr_server.settings import Settings, SettingsError

if TYPE_CHECKING:
    from asr_server.recordings.inprocess import InProcess

err = Console(stderr=True, highlight=False)

Model = Annotated[
    str | None,
    typer.Option(help="A model's name, its hub id, a directory, `auto`, or `demo`."),
]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda.")]
Dtype = Annotated[str | None, typer.Option(help="auto, float32, bfloat16, float16 or int8.")]
ModelDir = Annotated[Path | None, typer.Option(help="Directory of downloaded models.")]
Download = Annotated[
    bool | None, typer.Option(help="Fetch the model first if it is not on this machine.")
]


def log_warnings() -> None:
    """Log warnings to stderr, except those about the end of a task: the command reports that."""
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("asr_server.websocket").setLevel(logging.ERROR)


def load_settings(**given: Any) -> Settings:
    """Return the environment and `.env`, overruled by `given`; exit with 2 if invalid."""
    options = {name: value for name, value in given.items() if value is not None}
    options |= {name: str(value) for name, value in options.items() if isinstance(value, Path)}
    if "download" in options:
        options["download"] = "always" if options["download"] else "never"
    try:
        return read(options)
    except SettingsError as exc:
        err.print(escape(str(exc)), style="bold red", soft_wrap=True)
        raise typer.Exit(2) from exc


def choose_model(settings: Settings) -> Choice:
    """Return the settings' model, downloaded where they allow it; exit with 1 without one."""
    try:
        with download_bars() as progress:
            return choose(settings, progress)
    except ModelError as exc:
        err.print(f"[bold red]No model:[/] {escape(str(exc))}", soft_wrap=True)
        raise typer.Exit(1) from exc


def server_here(
    streams: int, **given: Any
) -> tuple[AbstractAsyncContextManager["InProcess"], dict[str, str]]:
    """Return a server that will run in this process, and its configuration for reports.

    Exits as `load_settings` and `choose_model` do, and prints the notice of the demo model.
    """
    settings = load_settings(**given)
    choice = choose_model(settings)
    if choice.notice:
        notice = _(DEMO_NOTICE).format(asr_server=command.asr_server())
        err.print(notice, style="bold yellow", markup=False, soft_wrap=True)

    from asr_server.app import create_app
    from asr_server.recordings.inprocess import bulk_settings, in_process

    chunk_size = ",".join(map(str, settings.chunk_size))
    configuration = {"model": choice.name, "chunk size": chunk_size}
    return in_process(create_app(bulk_settings(settings, streams), choice)), configuration


def progress_bars(*columns: ProgressColumn, transient: bool = True, shown: bool = True) -> Progress:
    """Return bars on stderr with these columns before the remaining time; a log has none."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *columns,
        TimeRemainingColumn(),
        console=err,
        transient=transient,
        redirect_stdout=False,  # stdout would go to stderr
        disable=not (shown and err.is_terminal),
    )


@contextmanager
def download_bars() -> Iterator[OnProgress]:
    """Show a bar for each file that is being downloaded."""
    with progress_bars(DownloadColumn(), TransferSpeedColumn(), transient=False) as bars:
        tasks: dict[str, TaskID] = {}

        def show(path: str, done: int, size: int) -> None:
            if path not in tasks:
                tasks[path] = bars.add_task(path, total=size)
            bars.update(tasks[path], completed=done)

        yield show
