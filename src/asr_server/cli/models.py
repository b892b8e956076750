"""`asr-server models`: list, download and verify models."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from asr_server import command
from asr_server.cli.options import ModelDir, download_bars, err, load_settings
from asr_server.models import registry
from asr_server.models.catalog import CATALOG, DEMO, PRODUCTION, PUNCTUATION, ModelError
from asr_server.settings import HubChoice, Settings

out = Console(highlight=False)

app = typer.Typer(help="List, download and check models.", no_args_is_help=True)

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
    """List the known models and their directories on this machine."""
    settings = load_settings(model_dir=model_dir)
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
        DEMO, "a first try; trained on synthetic speech only", "embedded" if demo else "no", "", ""
    )
    out.print(table)


@app.command(epilog="Example: asr-server models download --hub modelscope")
def download(
    names: Names = None,
    hub: Annotated[
        HubChoice,
        typer.Option(help="Hub to use; `auto` takes the one that answers first."),
    ] = "auto",
    accept_changes: Annotated[
        bool, typer.Option(help="Accept files that differ from the first download's.")
    ] = False,
    model_dir: ModelDir = None,
) -> None:
    """Download models, resuming an interrupted download."""
    settings = load_settings(model_dir=model_dir).model_copy(update={"hub": hub})
    for name in names or NEEDED:
        try:
            with download_bars() as progress:
                path = registry.download(name, settings, progress, accept_changes)
        except (ModelError, OSError) as exc:
            err.print(f"[bold red]{name} not downloaded:[/] {exc}", soft_wrap=True)
            raise typer.Exit(1) from exc
        out.print(f"{name} lies in {path}", soft_wrap=True)


@app.command(epilog="Example: asr-server models verify ./my-model")
def verify(names: Names = None, model_dir: ModelDir = None) -> None:
    """Check the files of models against their lock and against each other."""
    settings = load_settings(model_dir=model_dir)
    if not all([_verified(name, settings) for name in names or NEEDED]):
        raise typer.Exit(1)


def _verified(name: str, settings: Settings) -> bool:
    path = registry.resolve(name, settings)
    if path is None:
        err.print(
            f"[bold red]{name} is not on this machine.[/] Get it with: "
            f"{command.asr_server()} models download {name}",
            soft_wrap=True,
        )
        return False

    from asr_server.asr.loading.verify import verify as check_model  # imports torch

    out.print(f"{name}: {path}", soft_wrap=True)
    checks = check_model(path)
    for check in checks:
        mark = "[bold red]✗[/]" if check.problem else "[green]✓[/]"
        found = f": {check.problem}" if check.problem else ""
        out.print(f"  {mark} {check.file}: {check.what}{found}", soft_wrap=True)
    return all(check.problem is None for check in checks)
