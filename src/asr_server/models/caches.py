"""Where the hubs' own libraries keep models, in every layout they have used. No network."""

from collections.abc import Iterator
from pathlib import Path

from asr_server.models.catalog import Model
from asr_server.models.hubs import Hubs


def cached(model: Model, hubs: Hubs) -> Iterator[Path]:
    """Directories that may hold the model, newest layout first; some may be incomplete."""
    for model_id in model.ids:
        yield from _modelscope(model_id, hubs.modelscope_cache)
        yield from _snapshots(hubs.huggingface_cache / "hub", model_id)
        yield from _snapshots(hubs.huggingface_cache, model_id)  # HF_HUB_CACHE names this one


def _modelscope(model_id: str, cache: Path) -> Iterator[Path]:
    yield from _snapshots(cache / "models", model_id, prefix="")
    owner, name = model_id.split("/")
    # modelscope before 1.40 writes "." in a name as "___" and links the plain name where it can.
    for folder in dict.fromkeys((name, name.replace(".", "___"))):
        for place in ("hub/models", "models", "hub", ""):
            yield cache / place / owner / folder


def _snapshots(cache: Path, model_id: str, prefix: str = "models--") -> Iterator[Path]:
    """`models--owner--name/snapshots/<commit>`: what `refs/main` names, then the latest."""
    repository = cache / (prefix + model_id.replace("/", "--"))
    for branch in ("main", "master"):
        ref = repository / "refs" / branch
        if ref.is_file():
            yield repository / "snapshots" / ref.read_text(encoding="utf-8").strip()
    if (repository / "snapshots").is_dir():
        yield from sorted(
            (repository / "snapshots").iterdir(), key=lambda p: p.stat().st_mtime, reverse=True
        )
