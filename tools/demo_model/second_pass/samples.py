"""The recordings in `tests/data/second_pass`: each shows what the second pass is for."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.demo_model import invented
from tools.demo_model.evaluation import Reader
from tools.demo_model.second_pass.evaluation import OfflineReader
from tools.demo_model.test_sets import read_manifest, read_wav

SETS = ("N", "B")
OTHERS = 9
"""Words of the list that are not said."""
MOST_SAMPLES = 4 * 16_000
EACH = 2


def corrected(streaming: Reader, offline: OfflineReader, sets: Path) -> Iterator[dict[str, Any]]:
    """Yield short recordings that only the offline model recognises without an error."""
    for name in SETS:
        entries = read_manifest(sets / f"{name}.jsonl")
        sounds = [read_wav(sets / entry.file) for entry in entries]
        texts = [streaming.transcribe(sounds, point) for point in (0, 1)]
        for entry, sound, right, *wrong in zip(
            entries, sounds, offline.transcribe(sounds), *texts, strict=True
        ):
            fits = right == entry.text and entry.text not in wrong
            if fits and len(sound) < MOST_SAMPLES:
                yield {"path": sets / entry.file, "text": entry.text, "words": []}


def spelled(offline: OfflineReader, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield short recordings of an invented name that the model spells right only with a list."""
    drawn = invented.names(invented.BENCHMARK_SEED + 1)
    others = [next(drawn) for _ in range(OTHERS)]
    for manifest in sorted(folder.glob("*.jsonl")):
        for line in manifest.read_text("utf-8").splitlines():
            entry = json.loads(line)
            path, words = folder / entry["file"], [*others, *entry["names"]]
            if len(read_wav(path)) > MOST_SAMPLES:
                continue
            one = offline.frozen(path)
            if offline.text(one) != entry["text"] == offline.text(one, words):
                yield {"path": path, "text": entry["text"], "words": words}


def build(
    streaming: Reader, offline: OfflineReader, sets: Path, hotwords: Path | None, folder: Path
) -> None:
    """Write the recordings and `manifest.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    kinds = [("corrected", corrected(streaming, offline, sets))]
    if hotwords is not None:
        kinds.append(("hotword", spelled(offline, hotwords)))
    for kind, found in kinds:
        for number, one in zip(range(EACH), found, strict=False):
            file = f"{kind}_{number}.wav"
            shutil.copy(one["path"], folder / file)
            written.append({"file": file, "text": one["text"], "hotwords": one["words"]})
    text = json.dumps(written, ensure_ascii=False, indent=1)
    (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")
