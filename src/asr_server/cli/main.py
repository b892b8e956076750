"""Define the command line: `asr-server serve`, `asr-server transcribe`, `asr-server models ...`."""

import io
import sys
from typing import Annotated

import typer

from asr_server import __version__
from asr_server.cli import bench, evaluate, language, models, serve, transcribe

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


def main() -> None:
    """Run the command of this process, in the user's language."""
    _write_utf8()
    command = typer.main.get_command(app)
    language.translate(command)
    command()


def _write_utf8() -> None:
    """Write UTF-8 to files and pipes, whatever the code page, and never fail at a terminal."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(
                encoding=None if stream.isatty() else "utf-8", errors="backslashreplace"
            )


if __name__ == "__main__":
    main()
