"""`asr-server models`: which models there are, getting them, looking them over."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from asr_server.models import registry
from asr_server.models.catalog import CATALOG, DEMO, PRODUCTION, PUNCTUATION, ModelError
from asr_server.models.download import Progress as OnProgress
from asr_server.settings import HubChoice, Settings

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

app = typer.Typer(help="List, download and check models.", no_args_is_help=True)

ModelDir = Annotated[
    Path | None, typer.Option(help="Where downloaded models lie.", show_default="./models")
]
Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME]...",
        help="Names or hub ids, see `models list`; without any, what production needs.",
        show_default=False,
    ),
]
NEEDED = (PRODUCTION, PUNCTUATION)


@app.command("list")
def list_models(model_dir: ModelDir = None) -> None:
    """Show the models this server knows and where they lie on this machine."""
    settings = _settings(model_dir)
    table = Table("model", "for", "on this machine", "size", "licence", box=None)
    table.columns[0].no_wrap = True
    for model in CATALOG:
        path = registry.resolve(model.name, settings)
        where = str(path) if path else "[dim]no[/]"
        table.add_row(
            model.name, model.task, where, f"{model.megabytes} MB", f"[dim]{model.licence}[/]"
        )
    demo = registry.resolve(DEMO, settings)
    table.add_row(
        DEMO, "a first try; knows synthetic speech only", "embedded" if demo else "no", "", ""
    )
    out.print(table)


@app.command(epilog="Example: asr-server models download --hub modelscope")
def download(
    names: Names = None,
    hub: Annotated[
        HubChoice, typer.Option(help="Where from; `auto` takes the hub that answers first.")
    ] = "auto",
    model_dir: ModelDir = None,
) -> None:
    """Fetch models, going on where an interrupted download stopped."""
    settings = _settings(model_dir).model_copy(update={"hub": hub})
    for name in names or NEEDED:
        try:
            with progress_bars(err) as progress:
                path = registry.download(name, settings, progress)
        except (ModelError, OSError) as exc:
            err.print(f"[bold red]{name} not downloaded:[/] {exc}", soft_wrap=True)
            raise typer.Exit(1) from exc
        out.print(f"{name} lies in {path}", soft_wrap=True)


@app.command(epilog="Example: asr-server models verify ./my-model")
def verify(names: Names = None, model_dir: ModelDir = None) -> None:
    """Check models' files against what the hub published and against each other."""
    settings = _settings(model_dir)
    if not all([_verified(name, settings) for name in names or NEEDED]):
        raise typer.Exit(1)


def _verified(name: str, settings: Settings) -> bool:
    path = registry.resolve(name, settings)
    if path is None:
        err.print(
            f"[bold red]{name} is not on this machine.[/] Get it with: "
            f"asr-server models download {name}",
            soft_wrap=True,
        )
        return False

    from asr_server.asr.loading.verify import verify as look_over  # imports torch

    out.print(f"{name}: {path}", soft_wrap=True)
    checks = look_over(path)
    for check in checks:
        mark = "[bold red]✗[/]" if check.problem else "[green]✓[/]"
        found = f": {check.problem}" if check.problem else ""
        out.print(f"  {mark} {check.file}: {check.what}{found}", soft_wrap=True)
    return all(check.problem is None for check in checks)


@contextmanager
def progress_bars(console: Console) -> Iterator[OnProgress]:
    """A bar for each file that is being downloaded; nothing at all if none is."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,  # a log has the first line of each download
    ) as bars:
        tasks: dict[str, TaskID] = {}

        def show(path: str, done: int, size: int) -> None:
            if path not in tasks:
                tasks[path] = bars.add_task(path, total=size)
            bars.update(tasks[path], completed=done)

        yield show


def _settings(model_dir: Path | None) -> Settings:
    given: dict[str, Any] = {} if model_dir is None else {"model_dir": str(model_dir)}
    return Settings(_env_file=".env", **given)  # type: ignore[call-arg]  # pydantic-settings adds it
