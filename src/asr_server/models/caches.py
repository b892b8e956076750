"""List where the hubs' own libraries keep models, in every layout they have used. No network."""

from collections.abc import Iterator
from pathlib import Path

from asr_server.models.catalog import Model
from asr_server.settings import Settings


def cached(model: Model, settings: Settings) -> Iterator[Path]:
    """Yield directories that may hold the model, newest layout first; some may be incomplete."""
    huggingface = Path(settings.huggingface_cache).expanduser()
    for model_id in model.ids:
        yield from _modelscope(model_id, Path(settings.modelscope_cache).expanduser())
        yield from _snapshots(huggingface / "hub", model_id)
        yield from _snapshots(huggingface, model_id)  # HF_HUB_CACHE names this directory


def _modelscope(model_id: str, cache: Path) -> Iterator[Path]:
    yield from _snapshots(cache / "models", model_id, prefix="")
    owner, name = model_id.split("/")
    # modelscope before 1.40 writes "." in a name as "___" and links the plain name if it can.
    for folder in dict.fromkeys((name, name.replace(".", "___"))):
        for place in ("hub/models", "models", "hub", ""):
            yield cache / place / owner / folder


def _snapshots(cache: Path, model_id: str, prefix: str = "models--") -> Iterator[Path]:
    """Yield `models--owner--name/snapshots/<commit>`: of `refs/main` first, then by age."""
    repository = cache / (prefix + model_id.replace("/", "--"))
    snapshots = repository / "snapshots"
    for branch in ("main", "master"):
        ref = repository / "refs" / branch
        if ref.is_file():
            yield snapshots / ref.read_text(encoding="utf-8").strip()
    if snapshots.is_dir():
        yield from sorted(snapshots.iterdir(), key=lambda p: p.stat().st_mtime, reverse=True)
