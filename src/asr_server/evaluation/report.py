"""The results as one HTML page that needs no network."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime

from jinja2 import Environment, PackageLoader, StrictUndefined

from asr_server import __version__
from asr_server.evaluation.calibration import pooled
from asr_server.evaluation.reliability import diagram
from asr_server.evaluation.summary import Summary

SHOWN = 100
"""Recordings of a data set on the page, the worst first; the JSON has all."""
SHOWN_SPEAKERS = 15


def to_html(summaries: Sequence[Summary], configuration: Mapping[str, str], made: datetime) -> str:
    """Return the page."""
    environment = Environment(
        loader=PackageLoader("asr_server.evaluation", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share, digits=2: f"{100 * share:.{digits}f} %"
    image = reliability_diagram(summaries, "png") if has_confidences(summaries) else None
    return environment.get_template("report.html").render(
        summaries=summaries,
        configuration=configuration,
        made=made,
        version=__version__,
        widest=max(max(s.interval or (0.0,)) for s in summaries) or 1.0,
        reliability=image and b64encode(image).decode(),
        shown=SHOWN,
        shown_speakers=SHOWN_SPEAKERS,
    )


def has_confidences(summaries: Sequence[Summary]) -> bool:
    """Return whether any word came with a confidence."""
    return any(summary.word_ece is not None for summary in summaries)


def reliability_diagram(summaries: Sequence[Summary], format: str) -> bytes:
    """Return the diagram of all data sets together, as a PNG or an SVG."""
    return diagram(
        pooled([summary.words for summary in summaries]),
        pooled([summary.sentences for summary in summaries]),
        format,
    )
