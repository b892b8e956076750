"""Show, once the server listens, its addresses, its model, and what to type next."""

import io
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.markup import escape
from rich.text import Text

from asr_server import __version__, command
from asr_server.cli.language import _
from asr_server.cli.options import err
from asr_server.models.registry import DEMO_NOTICE, Choice
from asr_server.network import lan_addresses, page_url
from asr_server.observability import logs
from asr_server.process.https import fingerprint
from asr_server.settings import Settings

if TYPE_CHECKING:
    from asr_server.asr.engine import Engine

log = logging.getLogger(__name__)

WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Addresses that a server listens on and no client connects to, and loopback of the same family."""

LOCAL = (
    "Only programs and pages of this machine can connect; they need no key. For other machines set "
    "ASR_API_KEYS, or ASR_HOST=0.0.0.0 to let everyone in who can reach this one. "
    "For a phone: {asr_server} serve --https"
)
NO_MICROPHONE = "browsers give this page no microphone over http; see --https"
CERTIFICATE = (
    "This machine made its certificate itself, so browsers warn once: choose Advanced, then "
    "proceed. SHA-256 {fingerprint}"
)
KEY = (
    "The link carries the API key in {file}: whoever has it may use the server. "
    "Delete the file to get a new one at the next start."
)
KEY_FILE = "The API key is in {file}."
SDK = "Three lines with DashScope's own SDK (pip install dashscope):"

LABEL_CELLS = 7
PATH = "/api-ws/v1/inference"


def greet(settings: Settings, choice: Choice, engine: "Engine", port: int) -> None:
    """Show, or log where logs are JSON, the server's addresses and model."""
    obstacle = engine.no_second_pass
    if logs.as_json(settings):
        _log(settings, choice, f"off: {obstacle}" if obstacle else "on", port)
        return
    host, tls = settings.listen_host, settings.tls
    everywhere = host in WILDCARDS
    here = WILDCARDS.get(host, host)
    key = _made_key(settings) if err.is_terminal else ""
    address = _websocket(here, port, tls=tls)
    lines = [
        "",
        f"[bold green]asr-server {__version__}[/] {_('listens on')} [bold]{address}[/]",
        f"{_label('page')}{page_url(here, port, tls=tls, key=key)}",
    ]
    lan = lan_addresses() if everywhere else []
    for other in lan:
        note = "" if tls else f"  ({_(NO_MICROPHONE)})"
        lines.append(f"{_label('LAN')}{page_url(other, port, tls=tls, key=key)}{note}")
    second_pass = f"{_('second pass off')}: {escape(obstacle)}" if obstacle else _("second pass on")
    lines += [f"{_label('model')}{escape(choice.name)}; {second_pass}", ""]
    err.print("\n".join(lines), soft_wrap=True)
    if settings.https:
        _show_phone(settings, lan, port, key)
    if settings.host == "auto" and not everywhere:
        err.print(_(LOCAL).format(asr_server=command.asr_server()), soft_wrap=True)
        err.print()
    if choice.notice:
        notice = _(DEMO_NOTICE).format(asr_server=command.asr_server())
        err.print(f"[bold black on yellow] {notice} [/]", soft_wrap=True)
        if choice.reason:
            err.print(_("It runs because: {reason}").format(reason=escape(choice.reason)))
        err.print()
    if not settings.https:
        err.print(f"{_(SDK)}\n", _example(address, settings), sep="\n", soft_wrap=True)


def _log(settings: Settings, choice: Choice, second_pass: str, port: int) -> None:
    """Log the address and the model, without the key."""
    about = {"version": __version__, "model": choice.name, "second_pass": second_pass}
    address = _websocket(settings.listen_host, port, tls=settings.tls)
    log.info("asr-server listens on %s", address, extra=about)
    if settings.host == "auto" and not (settings.keyed or settings.https):
        log.info("%s", LOCAL.format(asr_server=command.asr_server()))
    if choice.notice:
        log.warning("%s", choice.notice)
    if choice.reason:
        log.warning("the demo model runs because: %s", choice.reason)


def _show_phone(settings: Settings, lan: list[str], port: int, key: str) -> None:
    """Show the QR code for a phone, and what its user must know."""
    if lan and err.is_terminal:
        err.print(
            Text(_qr_code(page_url(lan[0], port, tls=True, key=key)), "bright_white on black")
        )
    if Path(settings.https_dir).expanduser() in Path(settings.ssl_certfile).parents:
        sha256 = fingerprint(Path(settings.ssl_certfile))
        err.print(_(CERTIFICATE).format(fingerprint=sha256), soft_wrap=True)
    if settings.api_keys_file:
        text = _(KEY if key else KEY_FILE)
        err.print(text.format(file=settings.api_keys_file), soft_wrap=True)
    err.print()


def _qr_code(url: str) -> str:
    import segno

    drawn = io.StringIO()
    segno.make_qr(url).terminal(out=drawn, border=2, compact=True)
    return drawn.getvalue()


def _made_key(settings: Settings) -> str:
    """Return the API key that `https` made, or nothing where the user's own keys are needed."""
    file = Path(settings.api_keys_file or "")
    if not settings.https or file.parent != Path(settings.https_dir).expanduser():
        return ""
    return file.read_text(encoding="utf-8").split()[0]


def _label(text: str) -> str:
    label = _(text)
    return label + " " * (LABEL_CELLS - cell_len(label))


def _websocket(host: str, port: int, *, tls: bool) -> str:
    return f"ws{'s' * tls}://{f'[{host}]' if ':' in host else host}:{port}{PATH}"


def _example(address: str, settings: Settings) -> Text:
    key = "any" if not settings.keyed else "YOUR-API-KEY"
    return Text(
        f"""\
  import dashscope; from dashscope.audio.asr import Recognition
  dashscope.api_key, dashscope.base_websocket_api_url = "{key}", "{address}"
  print(Recognition("paraformer-realtime-v2", None, "wav", 16000)\
.call("speech.wav").get_sentence())
"""
    )
