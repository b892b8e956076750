"""`asr-server serve`: run the server until it is stopped."""

import errno
import logging
import os
import socket
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from asr_server.cli.greeting import greet
from asr_server.cli.options import (
    Device,
    Download,
    Dtype,
    ModelDir,
    choose_model,
    err,
    load_settings,
)
from asr_server.configuration import unknown_variables
from asr_server.models.catalog import PRODUCTION
from asr_server.observability import logs
from asr_server.process.https import prepare
from asr_server.settings import SettingsError

log = logging.getLogger(__name__)

app = typer.Typer()


@app.command(
    epilog="""
[bold]Examples[/]

asr-server serve                           the production model, from ./models or a hub's cache

asr-server serve --download                the same, fetched first if needed

asr-server serve --model auto              what `make run` does: the best model that can be had

asr-server serve --model /models/mine      a FunASR model directory

asr-server serve --https                   a phone of this network, with its microphone

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
    https: Annotated[
        bool | None,
        typer.Option(
            "--https",
            help="Serve HTTPS to this network, with a certificate and a key made here.",
            show_default=False,
        ),
    ] = None,
    ssl_certfile: Annotated[
        Path | None, typer.Option(help="TLS certificate with those that lead to its root, PEM.")
    ] = None,
    ssl_keyfile: Annotated[
        Path | None, typer.Option(help="Private key of the certificate, PEM.")
    ] = None,
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
    for warning in unknown_variables():
        log.warning("%s", warning)
    try:
        settings = prepare(settings)
        _check_address(settings.listen_host, settings.port)
        choice = choose_model(settings)

        from asr_server.app import create_app
        from asr_server.process import serving  # the web stack and torch take seconds to import

        application = create_app(settings, choice)
    except SettingsError as exc:
        err.print(f"[bold red]Not started:[/] {escape(str(exc))}", soft_wrap=True)
        raise typer.Exit(1) from exc
    greeting = partial(greet, settings, choice, application.state.engine)
    raise typer.Exit(serving.serve(application, settings, greeting))


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
