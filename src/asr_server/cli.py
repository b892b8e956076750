"""The command line: `asr-server serve`, `asr-server transcribe`, `asr-server models ...`."""

from typing import Annotated

import typer

from asr_server import __version__, cli_bench, cli_evaluate, cli_models, cli_transcribe
from asr_server.cli_options import (
    Device,
    Download,
    Dtype,
    ModelDir,
    err,
    model_from,
    settings_from,
)
from asr_server.models.catalog import PRODUCTION
from asr_server.models.registry import Choice

app = typer.Typer(
    help="Real-time Mandarin speech recognition for every DashScope client.",
    epilog="Everything can also be set in the environment or in ./.env: see .env.example.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(cli_transcribe.app)
app.add_typer(cli_bench.app)
app.add_typer(cli_evaluate.app)
app.add_typer(cli_models.app, name="models")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    pass


@app.command(
    epilog="""
[bold]Examples[/]

asr-server serve                           the production model, from ./models or a hub's cache

asr-server serve --download                the same, fetched first if needed

asr-server serve --model auto              what `make run` does: the best model that can be had

asr-server serve --model /models/mine      a FunASR model directory

asr-server serve --host 127.0.0.1 --port 9000 --device cuda --log-level debug
"""
)
def serve(
    model: Annotated[
        str | None,
        typer.Option(
            help="A model's name, its hub id, a directory, `auto`, or `demo`.",
            show_default=PRODUCTION,
        ),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes any.")] = None,
    device: Device = None,
    dtype: Dtype = None,
    model_dir: ModelDir = None,
    download: Download = None,
    log_level: Annotated[
        str | None, typer.Option(help="critical, error, warning, info or debug.")
    ] = None,
) -> None:
    """Serve DashScope's WebSocket protocol until stopped.

    Without its model the server does not start; only `--model auto` falls back to the demo.
    """
    settings = settings_from(
        model=model,
        host=host,
        port=port,
        device=device,
        dtype=dtype,
        model_dir=model_dir,
        download=download,
        log_level=log_level,
    )
    from asr_server import serving  # the web stack and torch take seconds to import

    serving.configure_logging(settings.log_level)
    choice = model_from(settings)

    from asr_server.app import create_app

    settings = settings.model_copy(update={"model": choice.name})
    raise typer.Exit(
        serving.serve(
            create_app(settings),
            settings,
            lambda port: err.print(_greeting(settings.host, port, choice), soft_wrap=True),
        )
    )


def _greeting(host: str, port: int, choice: Choice) -> str:
    shown = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host
    elsewhere = "" if shown == host else "  (and on this machine's other addresses)"
    lines = [
        "",
        f"[bold green]asr-server {__version__}[/] listens on "
        f"[bold]ws://{shown}:{port}/api-ws/v1/inference[/]{elsewhere}",
        f"model  {choice.name}",
    ]
    if choice.notice:
        lines += ["", f"[bold black on yellow] {choice.notice} [/]"]
    if choice.reason:
        lines += [f"It runs because: {choice.reason}"]
    lines += [
        "",
        "Three lines with DashScope's own SDK (pip install dashscope):",
        "",
        "  import dashscope; from dashscope.audio.asr import Recognition",
        "  dashscope.api_key, dashscope.base_websocket_api_url = "
        f'"any", "ws://{shown}:{port}/api-ws/v1/inference"',
        '  print(Recognition("paraformer-realtime-v2", None, "wav", 16000)'
        '.call("speech.wav").get_sentence())',
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    app()
