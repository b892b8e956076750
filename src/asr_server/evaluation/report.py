"""The results for a browser, one HTML page that needs no network, and for programs, as JSON."""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime

from jinja2 import Environment, PackageLoader, StrictUndefined

from asr_server import __version__
from asr_server.evaluation.comparison import Comparison
from asr_server.evaluation.reliability import reliability_diagram
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
    image = reliability_diagram(summaries, "png")
    return environment.get_template("report.html").render(
        summaries=summaries,
        configuration=configuration,
        made=made,
        version=__version__,
        widest=max(max(s.cer_95_percent or (0.0,)) for s in summaries) or 1.0,
        reliability=image and b64encode(image).decode(),
        shown=SHOWN,
        shown_speakers=SHOWN_SPEAKERS,
    )


def to_json(
    summaries: Sequence[Summary],
    configuration: Mapping[str, str],
    comparisons: Sequence[Comparison] = (),
) -> str:
    """Return every figure, and every recording with its reference and hypothesis."""
    sets = []
    for summary in summaries:
        failed = [{"id": one.utterance.id, "reason": one.reason} for one in summary.failed]
        results = [
            {
                "id": one.utterance.id,
                "speaker": one.utterance.speaker,
                "reference": one.utterance.text,
                "hypothesis": "".join(sentence.text for sentence in one.sentences),
                "errors": one.score.errors,
                "characters": one.score.characters,
                "duration_s": one.duration_s,
            }
            for one in summary.results
        ]
        sets.append({**vars(summary), "failed": failed, "results": results})
    whole: dict[str, object] = {"configuration": dict(configuration), "sets": sets}
    if comparisons:
        whole["second_pass"] = [asdict(one) for one in comparisons]
    return json.dumps(whole, ensure_ascii=False, indent=1, default=asdict) + "\n"
