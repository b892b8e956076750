"""`python -m tools.demo_model build` makes the demo models; other commands run single stages."""

import json
import os
from pathlib import Path
from typing import Annotated

# Threads that spin while they wait take the cores from whoever else needs them.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import typer  # noqa: E402

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)

ROOT = Path(__file__).parents[2]
PRODUCTS = ROOT / "src/asr_server/models/demo"
Work = Annotated[Path, typer.Option(help="Folder for data, checkpoints and logs.")]
WORK = ROOT / "build/demo_model"


@app.command()
def speech(work: Work = WORK, processes: int = 2, shards: int = 40) -> None:
    """Speak the training set and compute its features (about 3.3 GB in 40 shards)."""
    from . import dataset

    dataset.build(work / "speech", processes, shards)


@app.command()
def names(work: Work = WORK, processes: int = 2) -> None:
    """Speak the sentences with invented names, from which the second pass learns hotwords."""
    from . import dataset

    dataset.build_names(work / "speech", processes)


@app.command()
def train(work: Work = WORK, minutes: float = 170.0, threads: int = 2) -> None:
    """Train the recogniser; goes on from the last checkpoint."""
    from .train import Recipe, Trainer

    Trainer(work / "speech", work / "asr", Recipe(seconds=minutes * 60, threads=threads)).run()


@app.command()
def export(work: Work = WORK, folder: Path = PRODUCTS / "asr", weights: str = "average") -> None:
    """Write the recogniser's directory from the last checkpoint, also while training goes on."""
    import numpy as np

    from .export import export_asr
    from .features import Normaliser

    tokens = json.loads((work / "speech/tokens.json").read_text("utf-8"))
    held = np.load(work / "asr/normaliser.npz")
    normaliser = Normaliser.measured(held["mean"], held["deviation"])
    export_asr(work / "asr/checkpoint.pt", tokens, normaliser, folder, weights)


@app.command()
def punctuation(folder: Path = PRODUCTS / "punctuation", seconds: float = 270.0) -> None:
    """Train the punctuation model and write its directory."""
    from . import punctuation as marks

    marks.train(folder, seconds)


@app.command()
def punctuation_report(folder: Path = PRODUCTS / "punctuation") -> None:
    """Figures of the punctuation model on held-out sentences."""
    from . import punctuation as marks

    marks.report(folder)


@app.command("test-sets")
def make_test_sets(work: Work = WORK) -> None:
    """Speak the held-out test sets."""
    from . import test_sets as sets

    sets.build(work / "test_sets")


@app.command()
def samples(folder: Path = ROOT / "tests/data") -> None:
    """Speak the recordings that the project's tests use."""
    from . import samples as recordings

    recordings.build(folder)


@app.command()
def evaluate(work: Work = WORK, folder: Path = PRODUCTS / "asr") -> None:
    """Error rates of the exported recogniser on the test sets, at both operating points."""
    from . import evaluation

    for point, name in enumerate(("chunks of 600 ms", "chunks of 480 ms")):
        figures = evaluation.evaluate(evaluation.Reader(folder), work / "test_sets", point)
        evaluation.show(figures, name)


@app.command()
def second_pass_train(work: Work = WORK, minutes: float = 40.0, threads: int = 1) -> None:
    """Train the offline model from the streaming one's weights; goes on from its checkpoint."""
    from .second_pass.train import SecondPassRecipe, SecondPassTrainer

    recipe = SecondPassRecipe(seconds=minutes * 60, threads=threads)
    SecondPassTrainer(work / "speech", work / "second_pass", recipe, PRODUCTS / "asr").run()


@app.command()
def second_pass_heads(
    work: Work = WORK, minutes: float = 60.0, times_minutes: float = 3.0, threads: int = 1
) -> None:
    """Teach the offline model times, and hotwords for `minutes`, with its recogniser frozen."""
    from .second_pass import heads

    heads.train(work, PRODUCTS / "asr", minutes * 60, times_minutes * 60, threads)


@app.command()
def second_pass_export(work: Work = WORK, folder: Path = PRODUCTS / "second_pass") -> None:
    """Write the offline model's directory."""
    from .second_pass import export as second_pass
    from .second_pass import heads

    tokens = json.loads((PRODUCTS / "asr/tokens.json").read_text("utf-8"))
    model = heads.trained(work / "second_pass", len(tokens), complete=True)
    weights, cmvn = model.paraformer.state_dict(), PRODUCTS / "asr/am.mvn"
    second_pass.export(weights, tokens, cmvn, folder)


@app.command()
def second_pass_evaluate(
    work: Work = WORK, folder: Path = PRODUCTS / "second_pass", hotwords: Path | None = None
) -> None:
    """Error rates of the offline model on the test sets, and recall of invented names.

    `hotwords` is the folder that `python -m benchmarks.hotwords speak` wrote.
    """
    from . import evaluation
    from .second_pass import evaluation as second_pass

    reader = second_pass.OfflineReader(folder)
    evaluation.show(evaluation.evaluate(reader, work / "test_sets"), "whole sentences")
    if hotwords is not None:
        for manifest in sorted(hotwords.glob("*.jsonl")):
            print(manifest.stem, second_pass.hotword_figures(reader, manifest))


@app.command()
def second_pass_samples(
    hotwords: Path | None = None,
    work: Work = WORK,
    folder: Path = ROOT / "tests/data/second_pass",
) -> None:
    """Choose the recordings with which the project's tests show the second pass."""
    from .evaluation import Reader
    from .second_pass import samples as recordings
    from .second_pass.evaluation import OfflineReader

    streaming, offline = Reader(PRODUCTS / "asr"), OfflineReader(PRODUCTS / "second_pass")
    recordings.build(streaming, offline, work / "test_sets", hotwords, folder)


@app.command()
def verify(work: Work = WORK, folder: Path = PRODUCTS / "asr", count: int = 10) -> None:
    """Check that FunASR's streaming inference and ours agree on some recordings."""
    from .batches import POINTS
    from .test_sets import read_manifest, read_wav
    from .verify import STEP, compare

    entries = read_manifest(work / "test_sets/A.jsonl")
    recordings = [read_wav(work / "test_sets" / entry.file) for entry in entries]
    for point in POINTS:
        size = point.stride * STEP
        fit = [r for r in recordings if STEP * 1.5 < len(r) % size < size - STEP / 2]
        print(point, compare(folder, fit[:count], point))


@app.command()
def build(work: Work = WORK, minutes: float = 170.0) -> None:
    """Everything, from nothing to the committed files (over five hours on two cores)."""
    speech(work)
    train(work, minutes)
    export(work)
    punctuation()
    samples()
    make_test_sets(work)
    evaluate(work)
    names(work)
    second_pass_train(work)
    second_pass_heads(work)
    second_pass_export(work)
    second_pass_evaluate(work)


if __name__ == "__main__":
    app()
