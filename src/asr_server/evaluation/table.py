"""What the terminal shows: tables with a row for every data set, and where it went wrong."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from asr_server.evaluation.scoring import Score
from asr_server.evaluation.summary import Summary


def overview(summaries: Sequence[Summary]) -> Table:
    """Error rates, a row for each data set."""
    table = _table("set", "recordings", "characters", "CER", "95 %", "S / D / I", "wrong", "RTF")
    for one in summaries:
        table.add_row(
            escape(one.name),
            str(len(one.scored)),
            f"{one.characters:,}",
            f"[bold]{one.cer:.2%}[/]",
            "{:.2f} - {:.2f}".format(*(100 * end for end in one.interval)) if one.interval else "-",
            f"{one.substitutions} / {one.deletions} / {one.insertions}",
            f"{one.wrong / max(1, len(one.scored)):.1%}",
            f"{one.rtf:.3f}",
        )
    return table


OVERVIEW = (
    "95 %: where the rate lies for certain but for one time in twenty. S, D, I: units heard as "
    "others, missed, invented. wrong: recordings with an error. RTF: seconds of work for a second "
    "of audio."
)


def finer(summaries: Sequence[Summary]) -> Table | None:
    """Confidences and times, where anybody knows them."""
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
    "ECE: expected calibration error of confidences. Times: how far words (of recordings without "
    "an error) and the speech as a whole (of recordings in one sentence) begin and end from the "
    "truth, median / 95th percentile."
)


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for number, name in enumerate(columns):
        if number:
            table.add_column(name, justify="right", no_wrap=True)
        else:
            table.add_column(name, overflow="fold")  # gives way where there is no room for all
    return table


def comparison(score: Score) -> tuple[Text, Text]:
    """What was said and what was heard, one above the other, differences in colour."""
    said, heard = Text("said   "), Text("heard  ")
    for edit in score.edits:
        width = max(_width(edit.said), _width(edit.heard))
        colour = {"equal": "", "substitute": "red", "delete": "yellow", "insert": "magenta"}
        said.append(_padded(edit.said, width), colour[edit.kind])
        heard.append(_padded(edit.heard, width), colour[edit.kind])
    return said, heard


def _padded(unit: str, width: int) -> str:
    return unit + ("·" if not unit else "") * width + " " * (width - _width(unit) if unit else 0)


def _width(unit: str) -> int:
    """Columns in a terminal; a Latin word has a space behind it."""
    return Text(unit).cell_len + (unit.isascii() and len(unit) > 1)
