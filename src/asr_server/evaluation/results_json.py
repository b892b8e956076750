"""The results as JSON for other programs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from asr_server.evaluation.summary import Summary


def to_json(summaries: Sequence[Summary], configuration: Mapping[str, str]) -> str:
    """Return every figure, and every recording with its reference and hypothesis."""
    results = {"configuration": dict(configuration), "sets": [_data_set(s) for s in summaries]}
    return json.dumps(results, ensure_ascii=False, indent=1) + "\n"


def _data_set(summary: Summary) -> dict[str, Any]:
    return {
        "name": summary.name,
        "recordings": len(summary.scored),
        "characters": summary.total.characters,
        "cer": summary.cer,
        "cer_95_percent": list(summary.interval) if summary.interval else None,
        "substitutions": summary.total.substitutions,
        "deletions": summary.total.deletions,
        "insertions": summary.total.insertions,
        "recordings_with_errors": summary.wrong,
        "recordings_without_transcript": summary.left_out,
        "audio_s": summary.audio_s,
        "took_s": summary.took_s,
        "rtf": summary.rtf,
        "word_ece": summary.word_ece,
        "sentence_ece": summary.sentence_ece,
        "word_reliability": [asdict(one) for one in summary.words],
        "sentence_reliability": [asdict(one) for one in summary.sentences],
        "word_times_ms": asdict(summary.word_times) if summary.word_times else None,
        "bounds_ms": asdict(summary.bounds) if summary.bounds else None,
        "confusions": [asdict(one) for one in summary.confusions],
        "speakers": [
            {
                "name": one.name,
                "recordings": one.recordings,
                "characters": one.total.characters,
                "errors": one.total.errors,
                "cer": one.total.rate,
            }
            for one in summary.speakers
        ],
        "failed": [{"id": one.utterance.id, "reason": one.reason} for one in summary.failed],
        "results": [
            {
                "id": one.utterance.id,
                "speaker": one.utterance.speaker,
                "reference": one.utterance.text,
                "hypothesis": one.hypothesis,
                "errors": one.score.errors,
                "characters": one.score.characters,
                "duration_s": one.duration_s,
            }
            for one in summary.scored
        ],
    }
