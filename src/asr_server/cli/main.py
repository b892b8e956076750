"""The command line: `asr-server serve`, `asr-server transcribe`, `asr-server models ...`."""

from typing import Annotated

import typer

from asr_server import __version__
from asr_server.cli import bench, evaluate, models, serve, transcribe

app = typer.Typer(
    help="Real-time Mandarin speech recognition for every DashScope client.",
    epilog="Everything can also be set in the environment or in ./.env: see .env.example.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)
for command in (serve, transcribe, bench, evaluate):
    app.add_typer(command.app)
app.add_typer(models.app, name="models")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


if __name__ == "__main__":
    app()
