"""The page: one HTML file with everything, for a browser without a network."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from asr_server import __version__
from asr_server.evaluation.calibration import pooled
from asr_server.evaluation.reliability import diagram
from asr_server.evaluation.summary import Summary

SHOWN = 100
"""Recordings of a data set that the page shows, the worst first; the JSON has all."""
SHOWN_SPEAKERS = 15


def to_html(summaries: Sequence[Summary], configuration: Mapping[str, str], made: datetime) -> str:
    """The page."""
    environment = Environment(
        loader=PackageLoader("asr_server.evaluation", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share, digits=2: f"{100 * share:.{digits}f} %"
    return environment.get_template("report.html").render(
        summaries=summaries,
        configuration=configuration,
        made=made,
        version=__version__,
        widest=max(max(s.interval or (0.0,)) for s in summaries) or 1.0,
        reliability=Markup(reliability(summaries)) if confident(summaries) else None,
        shown=SHOWN,
        shown_speakers=SHOWN_SPEAKERS,
    )


def confident(summaries: Sequence[Summary]) -> bool:
    """Whether any confidence came with the words."""
    return any(summary.word_ece is not None for summary in summaries)


def reliability(summaries: Sequence[Summary]) -> str:
    """The diagram of all data sets together, an SVG."""
    return diagram(
        pooled([summary.words for summary in summaries]),
        pooled([summary.sentences for summary in summaries]),
    )
