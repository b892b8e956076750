"""From a model's name to its directory: what lies here, what can be had, and what to do without.

`resolve` never touches the network; `download` does nothing else; `choose` decides between them.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from asr_server.models.caches import cached
from asr_server.models.catalog import (
    DEMO,
    PRODUCTION,
    PUNCTUATION,
    HubName,
    Model,
    ModelError,
    lookup,
)
from asr_server.models.download import Progress, fetch
from asr_server.models.hubs import Hubs, Listing, listings
from asr_server.settings import Settings

log = logging.getLogger(__name__)

HubChoice = Literal["auto", "modelscope", "huggingface"]

AUTO = "auto"
"""The production model if it can be had, else the embedded demo."""

PROBE_S = 5.0
"""How long hubs may take to answer before they count as unreachable."""

EMBEDDED = Path(__file__).parent / "demo"
"""Where the demo's two models lie, `asr` and `punctuation`."""


DEMO_NOTICE = (
    "DEMO MODEL: it was trained on synthetic speech and does not understand people. "
    "For real recognition: asr-server models download"
)
"""For people to see wherever they look while the demo model runs."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The model to run."""

    name: str
    """As it was asked for; `choose` finds it again under this name."""
    path: Path
    punctuation: Path | None
    """The model that sets punctuation marks, or None to do without."""
    reason: str | None = None
    """Why it is not the production model, if `auto` had to do without."""

    @property
    def notice(self) -> str | None:
        """What people must be told about this model, or None."""
        return DEMO_NOTICE if self.name == DEMO else None


def resolve(
    name_or_path: str | Path, model_dir: str | Path, hubs: Hubs | None = None
) -> Path | None:
    """The directory of a model that is already on this machine, or None.

    Looked for as a directory, in `model_dir`, and in the caches of the hubs' own libraries.
    """
    name = str(name_or_path)
    if name == DEMO:
        return EMBEDDED / "asr" if complete(EMBEDDED / "asr") else None
    model = lookup(name)
    places = [Path(name).expanduser(), Path(model_dir).expanduser() / name]
    if model is not None:
        places.append(Path(model_dir).expanduser() / model.name)
        places.extend(cached(model, hubs or Hubs()))
    return next((place for place in places if complete(place, model)), None)


def complete(directory: Path, model: Model | None = None) -> bool:
    """Whether a directory has every file the model needs."""
    needed = model.files if model is not None else ("config.yaml",)
    return all((directory / file).is_file() for file in needed)


def hub_reachable(timeout_s: float = PROBE_S, hubs: Hubs | None = None) -> bool:
    """Whether any hub offers the production model within the time."""
    model = lookup(PRODUCTION)
    assert model is not None
    try:
        return bool(_ask(model, "auto", hubs or Hubs(), timeout_s))
    except ModelError as exc:
        log.debug("no hub: %s", exc)
        return False


def download(
    name: str,
    model_dir: str | Path,
    hub: HubChoice = "auto",
    progress: Progress | None = None,
    hubs: Hubs | None = None,
) -> Path:
    """Download a model into `model_dir`, going on where an earlier attempt stopped; its directory.

    `auto` takes the hub that answers first, and the other one if that fails. Raises ModelError.
    """
    model = lookup(name)
    if model is None:
        raise ModelError(f"no model is called {name!r}; `asr-server models list` shows the names")
    return _fetch_first(model, _ask(model, hub, hubs or Hubs(), PROBE_S), model_dir, progress)


def choose(
    name: str,
    model_dir: str | Path,
    *,
    allow_download: bool | None = None,
    hub: HubChoice = "auto",
    progress: Progress | None = None,
    hubs: Hubs | None = None,
) -> Choice:
    """The model to run for what was asked; raises ModelError, which says the next command.

    Only `auto` ever falls back to the demo; without a hub that takes `PROBE_S`. Downloads happen
    for `auto` unless forbidden, for other names if allowed.
    """
    wanted = PRODUCTION if name == AUTO else name
    found = resolve(wanted, model_dir, hubs)
    if found is not None:
        marks = _marks(wanted, model_dir, hubs)
        if marks is None and allow_download:
            marks = _downloaded_marks(model_dir, hub, progress, hubs)
        return Choice(wanted, found, marks)
    if name != AUTO and not allow_download:
        raise ModelError(_how_to_get(name))
    try:
        if allow_download is False:
            raise ModelError("downloads are switched off")
        found = download(wanted, model_dir, hub, progress, hubs)
    except (ModelError, OSError) as exc:
        if name != AUTO:
            raise
        return _demo(str(exc))
    marks = _marks(wanted, model_dir, hubs) or _downloaded_marks(model_dir, hub, progress, hubs)
    return Choice(wanted, found, marks)


def choose_for(settings: Settings, progress: Progress | None = None) -> Choice:
    """`choose` as the settings ask for it."""
    return choose(
        settings.model,
        settings.model_dir,
        allow_download={"auto": None, "always": True, "never": False}[settings.download],
        hub=settings.hub,
        progress=progress,
        hubs=hubs_of(settings),
    )


def hubs_of(settings: Settings) -> Hubs:
    """The hubs and caches that the settings name."""
    return Hubs(
        modelscope=settings.modelscope_endpoint,
        huggingface=settings.huggingface_endpoint,
        modelscope_cache=Path(settings.modelscope_cache).expanduser(),
        huggingface_cache=Path(settings.huggingface_cache).expanduser(),
    )


def _ask(model: Model, hub: HubChoice, hubs: Hubs, timeout_s: float) -> list[Listing]:
    both: tuple[HubName, ...] = ("modelscope", "huggingface")
    wanted: Sequence[HubName] = both if hub == "auto" else (hub,)
    return listings(model, hubs, [h for h in wanted if hub != "auto" or model.id_on(h)], timeout_s)


def _fetch_first(
    model: Model, offers: list[Listing], model_dir: str | Path, progress: Progress | None
) -> Path:
    target = Path(model_dir).expanduser() / model.name
    reasons = []
    for offer in offers:
        log.info("downloading %s (%d MB) from %s", model.name, offer.size >> 20, offer.hub)
        try:
            return fetch(offer, target, progress or (lambda path, done, size: None))
        except ModelError as exc:
            log.warning("%s", exc)
            reasons.append(str(exc))
    raise ModelError("; ".join(reasons))


def _demo(reason: str) -> Choice:
    found = resolve(DEMO, "")
    if found is None:
        raise ModelError(f"{reason}; and the embedded demo model is not in this installation")
    return Choice(DEMO, found, _marks(DEMO, "", None), reason)


def _marks(name: str, model_dir: str | Path, hubs: Hubs | None) -> Path | None:
    if name != DEMO:
        return resolve(PUNCTUATION, model_dir, hubs)
    own = EMBEDDED / "punctuation"
    return own if complete(own) else None


def _downloaded_marks(
    model_dir: str | Path, hub: HubChoice, progress: Progress | None, hubs: Hubs | None
) -> Path | None:
    """The punctuation model is worth having and not worth failing for."""
    try:
        return download(PUNCTUATION, model_dir, hub, progress, hubs)
    except (ModelError, OSError) as exc:
        log.warning("text will have no punctuation marks: %s", exc)
        return None


def _how_to_get(name: str) -> str:
    if lookup(name) is None:
        return (
            f"{name!r} is neither a directory with a config.yaml nor the name of a model; "
            "`asr-server models list` shows the names"
        )
    return (
        f"the model {name} is not on this machine. Get it with\n\n"
        f"    asr-server models download{'' if name == PRODUCTION else ' ' + name}\n\n"
        "or let `asr-server serve --download` do so, or try the server with the embedded demo: "
        f"asr-server serve --model {DEMO}"
    )
