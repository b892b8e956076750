"""The results on the terminal: tables with a row for every data set, and single errors."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from asr_server.evaluation.scoring import Score
from asr_server.evaluation.summary import Summary


def overview(summaries: Sequence[Summary]) -> Table:
    """Return the error rates, a row for each data set."""
    table = _table("set", "recordings", "characters", "CER", "95 %", "S / D / I", "wrong", "RTF")
    for one in summaries:
        table.add_row(
            escape(one.name),
            str(len(one.scored)),
            f"{one.total.characters:,}",
            f"[bold]{one.cer:.2%}[/]",
            "{:.2f} - {:.2f}".format(*(100 * end for end in one.interval)) if one.interval else "-",
            f"{one.total.substitutions} / {one.total.deletions} / {one.total.insertions}",
            f"{one.wrong / max(1, len(one.scored)):.1%}",
            f"{one.rtf:.3f}",
        )
    return table


OVERVIEW = (
    "95 %: confidence interval of the rate. S, D, I: substitutions, deletions, insertions. wrong: "
    "recordings with an error. RTF: seconds of computation for a second of audio."
)


def finer(summaries: Sequence[Summary]) -> Table | None:
    """Return confidences and times, or None without any."""
    if not any(one.word_ece is not None or one.word_times or one.bounds for one in summaries):
        return None
    table = _table("set", "ECE words", "ECE sentences", "word times ms", "speech bounds ms")
    for one in summaries:
        table.add_row(
            escape(one.name),
            *("-" if ece is None else f"{ece:.3f}" for ece in (one.word_ece, one.sentence_ece)),
            *(
                f"{timing.median:.0f} / {timing.p95:.0f}" if timing else "-"
                for timing in (one.word_times, one.bounds)
            ),
        )
    return table


FINER = (
    "ECE: expected calibration error of confidences. Times: errors of the begin and end of words "
    "(in recordings without an error) and of the speech (in recordings of one sentence), median / "
    "95th percentile."
)


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for number, name in enumerate(columns):
        if number:
            table.add_column(name, justify="right", no_wrap=True)
        else:
            table.add_column(name, overflow="fold")  # folds where the table is too wide
    return table


def comparison(score: Score) -> tuple[Text, Text]:
    """Return reference and hypothesis, to be printed one above the other, errors in colour."""
    reference, hypothesis = Text("reference   "), Text("hypothesis  ")
    colours = {"equal": "", "substitute": "red", "delete": "yellow", "insert": "magenta"}
    for edit in score.edits:
        width = max(_width(edit.reference), _width(edit.hypothesis))
        reference.append(_padded(edit.reference, width), colours[edit.kind])
        hypothesis.append(_padded(edit.hypothesis, width), colours[edit.kind])
    return reference, hypothesis


def _padded(unit: str, width: int) -> str:
    return unit + ("·" if not unit else "") * width + " " * (width - _width(unit) if unit else 0)


def _width(unit: str) -> int:
    """Return the columns in a terminal; a space follows a Latin word."""
    return Text(unit).cell_len + (unit.isascii() and len(unit) > 1)
