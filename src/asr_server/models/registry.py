"""Find the directory of a model: on this machine, by download, or the embedded demo model.

`resolve` never uses the network; `download` always does; `choose` decides between them.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from asr_server import command
from asr_server.models import catalog
from asr_server.models.caches import cached
from asr_server.models.catalog import (
    DEMO,
    PRODUCTION,
    PUNCTUATION,
    SECOND_PASS,
    ModelError,
    lookup,
)
from asr_server.models.download import Progress, fetch
from asr_server.models.hubs import listings
from asr_server.settings import Settings

log = logging.getLogger(__name__)

AUTO = "auto"
"""The production model if it is available, else the embedded demo model."""

EMBEDDED = Path(__file__).parent / "demo"
"""The directory of the demo's models: `asr`, `punctuation`, `second_pass`."""

HUBS: tuple[catalog.HubName, ...] = ("modelscope", "huggingface")

DEMO_NOTICE = (
    "DEMO MODEL: trained on synthetic speech only, it does not recognise human voices. "
    "For real recognition: {asr_server} models download"
)
"""Shown wherever users look while the demo model runs; `Choice.notice` names the command."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Hold the model to run."""

    name: str
    """The name under which `choose` finds the model again."""
    path: Path
    punctuation: Path | None
    """The model that predicts punctuation marks, or None to run without."""
    reason: str | None = None
    """Why `auto` did not get the production model, or None."""
    second_pass: Path | None = None
    """The offline model that corrects finals, or None to run without."""
    no_second_pass: str = ""
    """Why there is no offline model, if there is none."""

    @property
    def notice(self) -> str | None:
        """Return the warning that users of this model must see, or None."""
        if self.name != DEMO:
            return None
        return DEMO_NOTICE.format(asr_server=command.asr_server())


def resolve(name: str | Path, settings: Settings) -> Path | None:
    """Return the directory of a model that is already on this machine, or None.

    Looked for as a directory, in `model_dir`, and in the caches of the hubs' own libraries.
    """
    if name == DEMO:
        return _embedded("asr")
    model = lookup(str(name))
    model_dir = Path(settings.model_dir).expanduser()
    places = [Path(name).expanduser(), model_dir / name]
    if model is not None:
        places += [model_dir / model.name, *cached(model, settings)]
    return next((place for place in places if _complete(place, model)), None)


def download(
    name: str, settings: Settings, progress: Progress | None = None, accept_changes: bool = False
) -> Path:
    """Download a model into `model_dir`, resuming an earlier attempt, and return its directory.

    Hub `auto` takes the hub that answers first, and the other one if that fails. `accept_changes`
    is as for `fetch`. Raises ModelError.
    """
    model = lookup(name)
    if model is None:
        raise ModelError(
            f"no model is called {name!r}; `{command.asr_server()} models list` shows the names"
        )
    hubs = [hub for hub in HUBS if model.id_on(hub)] if settings.hub == "auto" else [settings.hub]
    target = Path(settings.model_dir).expanduser() / model.name
    if model.name in (PUNCTUATION, SECOND_PASS):  # the revision is one of the recogniser's
        settings = settings.model_copy(update={"model_revision": ""})
    reasons = []
    show = progress or (lambda path, done, size: None)
    for listing in listings(model, hubs, settings):
        log.info("downloading %s (%d MB) from %s", model.name, listing.size >> 20, listing.hub)
        try:
            return fetch(listing, target, show, accept_changes=accept_changes)
        except ModelError as exc:
            log.warning("%s", exc)
            reasons.append(str(exc))
    raise ModelError("; ".join(reasons))


def choose(settings: Settings, progress: Progress | None = None) -> Choice:
    """Return the model to run; raises ModelError, whose text has the next command.

    Only `auto` falls back to the demo model, without a hub after `hubs.PROBE_S`. A missing model
    is downloaded for `auto` unless the settings forbid it, and for other names if they demand it.
    """
    auto = settings.model == AUTO
    name = PRODUCTION if auto else settings.model
    may_download = settings.download == "always"
    path, reason = resolve(name, settings), None
    if path is None:
        if not (auto or may_download):
            raise ModelError(_how_to_get(name))
        try:
            if settings.download == "never":
                raise ModelError("downloads are switched off")
            path = download(name, settings, progress)
            may_download = True
        except (ModelError, OSError) as exc:
            if not auto:
                raise
            name, path, reason = DEMO, _embedded("asr"), str(exc)
            if path is None:
                absent = "the embedded demo model is not in this installation"
                raise ModelError(f"{reason}; and {absent}") from exc
    punctuation = _embedded("punctuation") if name == DEMO else resolve(PUNCTUATION, settings)
    if punctuation is None and may_download:
        try:
            punctuation = download(PUNCTUATION, settings, progress)
        except (ModelError, OSError) as exc:  # recognition works without
            log.warning("text will have no punctuation marks: %s", exc)
    second_pass, absence = _second_pass(name, settings, may_download, progress)
    return Choice(name, path, punctuation, reason, second_pass, absence)


def _second_pass(
    model: str, settings: Settings, may_download: bool, progress: Progress | None
) -> tuple[Path | None, str]:
    """Return the directory of the offline model, or why there is none.

    Raises ModelError where the settings demand one. Only then is it downloaded, if that is allowed:
    it is as large as the recogniser.
    """
    if settings.second_pass == "off":
        return None, "it is switched off"
    name = settings.second_pass_model
    if name == AUTO:
        name = DEMO if model == DEMO else SECOND_PASS
    path = _embedded("second_pass") if name == DEMO else resolve(name, settings)
    if path is not None:
        return path, ""
    if settings.second_pass == "auto":
        return None, f"the model {name} is not on this machine"
    if name == DEMO:
        raise ModelError("the demo's offline model is not in this installation")
    if not may_download:
        raise ModelError(_how_to_get(name))
    return download(name, settings, progress), ""


def _embedded(kind: str) -> Path | None:
    return EMBEDDED / kind if _complete(EMBEDDED / kind) else None


def _complete(directory: Path, model: catalog.Model | None = None) -> bool:
    """Return whether a directory has every file of the model."""
    files = model.files if model is not None else ("config.yaml",)
    return all((directory / file).is_file() for file in files)


def _how_to_get(name: str) -> str:
    program = command.asr_server()
    if lookup(name) is None:
        return (
            f"{name!r} is neither a directory with a config.yaml nor the name of a model; "
            f"`{program} models list` shows the names"
        )
    return (
        f"the model {name} is not on this machine. Get it with\n\n"
        f"    {program} models download{'' if name == PRODUCTION else ' ' + name}\n\n"
        f"or let `{program} serve --download` do so, or try the server with the embedded demo: "
        f"{program} serve --model {DEMO}"
    )
