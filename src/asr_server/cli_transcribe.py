"""`asr-server transcribe`: recordings to text without a server."""

from pathlib import Path
from typing import Annotated

import typer

from asr_server.cli_options import (
    Device,
    Download,
    Dtype,
    Model,
    ModelDir,
    err,
    log_warnings,
    model_from,
    settings_from,
)

app = typer.Typer()


@app.command(
    epilog="""
[bold]Examples[/]

asr-server transcribe meeting.wav

asr-server transcribe --model demo --times tests/data/*.wav
"""
)
def transcribe(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Recordings.")],
    model: Model = None,
    times: Annotated[bool, typer.Option(help="Put each sentence's time before it.")] = False,
    device: Device = None,
    dtype: Dtype = None,
    model_dir: ModelDir = None,
    download: Download = None,
) -> None:
    """Print what is said in recordings, one sentence a line, without a server."""
    settings = settings_from(
        model=model, device=device, dtype=dtype, model_dir=model_dir, download=download
    )
    log_warnings()
    choice = model_from(settings)
    if choice.notice:
        err.print(choice.notice, style="bold yellow")

    from asr_server.transcribing import transcribe_files

    if not transcribe_files(settings, choice, files, times=times):
        raise typer.Exit(1)
