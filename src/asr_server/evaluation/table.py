"""The results on the terminal: tables with a row for every data set, and single errors."""

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from asr_server.evaluation.comparison import Comparison, Recall
from asr_server.evaluation.scoring import Score
from asr_server.evaluation.summary import Summary

OVERVIEW = (
    "95 %: confidence interval of the rate. S, D, I: substitutions, deletions, insertions. wrong: "
    "recordings with an error. RTF: seconds of computation for a second of audio."
)
FINER = (
    "ECE: expected calibration error of confidences. Times: errors of the begin and end of words "
    "(in recordings without an error) and of the speech (in recordings of one sentence), median / "
    "95th percentile."
)
COMPARED = (
    "Without → with the second pass. tail: median time from the last audio to the end of a task, "
    "sent as fast as the server takes it; --streams 1 measures it alone."
)
COLOURS = {"equal": "", "substitute": "red", "delete": "yellow", "insert": "magenta"}


def show(out: Console, summaries: Sequence[Summary], worst: int) -> None:
    """Print the error rates, confidences and times if any, and each data set's worst recordings."""
    overview = _table("set", "recordings", "characters", "CER", "95 %", "S / D / I", "wrong", "RTF")
    finer = _table("set", "ECE words", "ECE sentences", "word times ms", "speech bounds ms")
    for one in summaries:
        interval = one.cer_95_percent
        overview.add_row(
            escape(one.name),
            str(one.recordings),
            f"{one.characters:,}",
            f"[bold]{one.cer:.2%}[/]",
            f"{100 * interval[0]:.2f} - {100 * interval[1]:.2f}" if interval else "-",
            f"{one.substitutions} / {one.deletions} / {one.insertions}",
            f"{one.recordings_with_errors / max(1, one.recordings):.1%}",
            f"{one.rtf:.3f}",
        )
        errors, times = (one.word_ece, one.sentence_ece), (one.word_times_ms, one.bounds_ms)
        finer.add_row(
            escape(one.name),
            *("-" if ece is None else f"{ece:.3f}" for ece in errors),
            *(f"{time.median:.0f} / {time.p95:.0f}" if time else "-" for time in times),
        )
    out.print(overview)
    out.print(OVERVIEW, style="dim")
    if any(one.word_ece is not None or one.word_times_ms or one.bounds_ms for one in summaries):
        out.print("", finer)
        out.print(FINER, style="dim")
    for name, scored in ((s.name, scored) for s in summaries for scored in s.worst[:worst]):
        count = f"{scored.score.errors} of {scored.score.characters} wrong"
        out.print(
            f"\n[bold]{escape(name)}[/]  {escape(scored.utterance.id)}  {count}", soft_wrap=True
        )
        for line in _comparison(scored.score):
            out.print(line, soft_wrap=True)


def show_comparisons(out: Console, comparisons: Sequence[Comparison]) -> None:
    """Print what the second pass changes: each column is without and with it."""
    table = _table("second pass", "CER", "change", "changed sentences", "tail ms", "hotword recall")
    for one in comparisons:
        before, after = one.cer
        table.add_row(
            escape(one.name),
            f"{before:.2%} → [bold]{after:.2%}[/]",
            f"{(after - before) / before:+.1%}" if before else "-",
            f"{one.changed_sentences} of {one.sentences}",
            " → ".join(f"{1000 * tail:.0f}" for tail in one.tail_s) if one.tail_s else "-",
            " → ".join(_share(recall) for recall in one.hotwords) if one.hotwords else "-",
        )
    out.print("", table)
    out.print(COMPARED, style="dim")


def _share(recall: Recall) -> str:
    return f"{recall.recognised / recall.spoken:.1%}" if recall.spoken else "none spoken"


def _table(first: str, *others: str) -> Table:
    return Table(
        Column(first, overflow="fold"),  # folds where the table is too wide
        *(Column(name, justify="right", no_wrap=True) for name in others),
        box=None,
        header_style="bold",
        pad_edge=False,
    )


def _comparison(score: Score) -> tuple[Text, Text]:
    """Return reference and hypothesis, to be printed one above the other, errors in colour."""
    reference, hypothesis = Text("reference   "), Text("hypothesis  ")
    for edit in score.edits:
        units = (edit.reference, edit.hypothesis)
        width = max(cell_len(u) + (u.isascii() and len(u) > 1) for u in units)  # Latin: a space
        for line, unit in zip((reference, hypothesis), units, strict=True):
            line.append(set_cell_size(unit or "·" * width, width), COLOURS[edit.kind])
    return reference, hypothesis
