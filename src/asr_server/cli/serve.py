"""`asr-server serve`: run the server until it is stopped."""

import errno
import logging
import os
import socket
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from asr_server import __version__
from asr_server.cli.options import (
    Device,
    Download,
    Dtype,
    ModelDir,
    choose_model,
    err,
    load_settings,
)
from asr_server.models.catalog import PRODUCTION
from asr_server.models.registry import Choice
from asr_server.observability import logs
from asr_server.settings import Settings, SettingsError

if TYPE_CHECKING:
    from asr_server.asr.engine import Engine

log = logging.getLogger(__name__)

WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}
"""Addresses that a server listens on and no client connects to, and loopback of the same family."""

LOCAL = """\
Only programs and pages of this machine can connect; they need no key. For other machines set
ASR_API_KEYS, or ASR_HOST=0.0.0.0 to let everyone in who can reach this one."""

PATH = "/api-ws/v1/inference"

app = typer.Typer()


@app.command(
    epilog="""
[bold]Examples[/]

asr-server serve                           the production model, from ./models or a hub's cache

asr-server serve --download                the same, fetched first if needed

asr-server serve --model auto              what `make run` does: the best model that can be had

asr-server serve --model /models/mine      a FunASR model directory

asr-server serve --host 0.0.0.0            every client that reaches this machine may use it

asr-server serve --port 9000 --device cuda --log-level debug
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
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen on; auto is this machine only, or all with keys."),
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes any.")] = None,
    device: Device = None,
    dtype: Dtype = None,
    model_dir: ModelDir = None,
    download: Download = None,
    log_level: Annotated[
        str | None, typer.Option(help="critical, error, warning, info or debug.")
    ] = None,
    log_format: Annotated[
        str | None, typer.Option(help="auto, text or json; auto is text on a terminal.")
    ] = None,
) -> None:
    """Serve DashScope's WebSocket protocol until stopped.

    Without its model the server does not start; only `--model auto` falls back to the demo.
    """
    settings = load_settings(**locals())
    logs.configure(settings)
    choice = choose_model(settings)
    try:
        _check_address(settings.listen_host, settings.port)

        from asr_server.app import create_app
        from asr_server.process import serving  # the web stack and torch take seconds to import

        application = create_app(settings, choice)
    except SettingsError as exc:
        err.print(f"[bold red]Not started:[/] {escape(str(exc))}", soft_wrap=True)
        raise typer.Exit(1) from exc
    greet = partial(_greet, settings, choice, engine=application.state.engine)
    raise typer.Exit(serving.serve(application, settings, greet))


def _check_address(host: str, port: int) -> None:
    """Raise SettingsError if the address cannot be bound; a large model is not loaded first."""
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as exc:
        raise SettingsError(f"{host} is no address of this machine; see --host") from exc
    hints = {
        errno.EADDRINUSE: f"another program listens on port {port}; "
        "stop it or choose another --port",
        errno.EACCES: f"only root may listen on port {port}; choose a --port from 1024 on",
    }
    for family, kind, protocol, _, address in addresses:
        try:
            with socket.socket(family, kind, protocol) as trial:
                if os.name == "posix":  # as asyncio does: the port of a stopped server is free
                    trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                trial.bind(address)
        except OSError as exc:  # uvicorn tolerates or explains the others, such as no IPv6
            if exc.errno in hints:
                raise SettingsError(hints[exc.errno]) from exc


def _greet(settings: Settings, choice: Choice, port: int, engine: "Engine | None" = None) -> None:
    """Show, or log where logs are JSON, the server's address and model."""
    host = settings.listen_host
    obstacle = engine.no_second_pass if engine else choice.no_second_pass
    second_pass = f"off: {obstacle}" if obstacle else "on"
    bound = f"[{host}]" if ":" in host else host
    if logs.as_json(settings):
        about = {"version": __version__, "model": choice.name, "second_pass": second_pass}
        log.info("asr-server listens on ws://%s:%s%s", bound, port, PATH, extra=about)
        if settings.host == "auto" and not settings.keyed:
            log.info("%s", " ".join(LOCAL.split()))
        if choice.notice:
            log.warning("%s", choice.notice)
        if choice.reason:
            log.warning("the demo model runs because: %s", choice.reason)
        return
    server = f"{WILDCARDS.get(host, bound)}:{port}"
    address = f"ws://{server}{PATH}"
    elsewhere = "  (and on this machine's other addresses)" if host in WILDCARDS else ""
    local = "" if settings.host != "auto" or settings.keyed else f"\n{LOCAL}\n"
    notice = f"\n[bold black on yellow] {choice.notice} [/]\n" if choice.notice else ""
    reason = f"It runs because: {choice.reason}\n" if choice.reason else ""
    err.print(
        f"""
[bold green]asr-server {__version__}[/] listens on [bold]{address}[/]{elsewhere}
page   http://{server}/
model  {choice.name}
second pass {second_pass}
{local}{notice}{reason}
Three lines with DashScope's own SDK (pip install dashscope):

  import dashscope; from dashscope.audio.asr import Recognition
  dashscope.api_key, dashscope.base_websocket_api_url = "any", "{address}"
  print(Recognition("paraformer-realtime-v2", None, "wav", 16000)\
.call("speech.wav").get_sentence())
""",
        soft_wrap=True,
    )
