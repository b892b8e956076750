"""Fill the generated parts of docs/PROTOCOL*.md: `python tools/protocol_docs.py`.

A part stands between `<!-- generated: NAME -->` and `<!-- end -->`. It comes from the code or from
the golden files, so the page cannot contradict the server.
"""

import json
import re
from collections import defaultdict
from pathlib import Path

from asr_server import errors
from asr_server.protocol.models import MODELS
from asr_server.state.messages import FROM_ENGINE, Input
from asr_server.state.session import TRANSITIONS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "docs" / "PROTOCOL.md", ROOT / "docs" / "PROTOCOL.zh-CN.md"]
GOLDEN = ROOT / "tests" / "protocol" / "golden"
PART = re.compile(r"(<!-- generated: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)
SAMPLES = {
    "AudioTooLong": (60,),
    "IdleTimeout": (23,),
    "MessageTooLong": (4 * 1024 * 1024,),
    "ModelNotFound": ("whisper",),
    "RequestTimeout": ("body", 30),
    "TaskTooLong": (3600,),
    "TooManyMessages": (200,),
    "UnsupportedFormat": ("midi",),
}
"""Constructor arguments of some errors."""


def main() -> None:
    for page in PAGES:
        page.write_text(fill(page.read_text(encoding="utf-8")), encoding="utf-8")


def fill(text: str) -> str:
    """Return the page with current generated parts."""
    return PART.sub(lambda part: f"{part[1]}{_part(part[2])}\n{part[3]}", text)


def _part(name: str) -> str:
    makers = {"states": _diagram, "transitions": _table, "errors": _errors, "models": _models}
    return makers[name]() if name in makers else _golden(name)


def _diagram() -> str:
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> IDLE"]
    for state, row in TRANSITIONS.items():
        inputs = defaultdict(list)
        for kind, following in row.items():
            inputs[following].append(kind.__name__)
        for following, kinds in inputs.items():
            lines.append(f"    {state.name} --> {following.name}: {', '.join(kinds)}")
    return "\n".join([*lines, "    CLOSED --> [*]", "```"])


def _table() -> str:
    kinds = sorted(Input.__args__, key=lambda kind: kind in FROM_ENGINE)
    lines = [
        "| | " + " | ".join(state.name for state in TRANSITIONS) + " |",
        "|---" * (len(TRANSITIONS) + 1) + "|",
    ]
    for kind in kinds:
        cells = [
            row[kind].name if kind in row else ("" if state.name == "CLOSED" else "✗")
            for state, row in TRANSITIONS.items()
        ]
        lines.append(f"| {kind.__name__} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _errors() -> str:
    lines = ["| error_code | error_message | HTTP | close | retry |", "|---|---|---|---|---|"]
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.AsrError) and hasattr(kind, "code"):
            error = kind(*SAMPLES.get(kind.__name__, ()))
            retry = "no" if isinstance(error, errors.ClientError) else "yes"
            lines.append(
                f"| `{error.code}` | {error} | {error.http_status} | {error.close_code} | {retry} |"
            )
    return "\n".join(dict.fromkeys(lines))


def _models() -> str:
    lines = [
        "| model | max_sentence_silence | sentence_id | result | interim results | usage |",
        "|---|---|---|---|---|---|",
    ]
    for name, family in MODELS.items():
        shape = "transcription" if family.transcribes else "sentence"
        silence, first = family.max_sentence_silence_ms, family.first_sentence_id
        interims = "✓" if family.interim else "✗"
        usage = "s, tokens" if family.counts_tokens else "s"
        lines.append(f"| `{name}` | {silence} ms | {first}… | {shape} | {interims} | {usage} |")
    return "\n".join(lines)


def _golden(name: str) -> str:
    message = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    return f"```json\n{_compact(message)}\n```"


def _compact(value: object, indent: str = "") -> str:
    """Return JSON with a line per member, and short members on one line."""
    line = json.dumps(value, ensure_ascii=False)
    if len(indent) + len(line) <= 110 or not isinstance(value, (dict, list)):
        return line
    inner = indent + "  "
    if isinstance(value, dict):
        members = [
            f"{inner}{json.dumps(k, ensure_ascii=False)}: {_compact(v, inner)}"
            for k, v in value.items()
        ]
        return "{\n" + ",\n".join(members) + f"\n{indent}}}"
    return "[\n" + ",\n".join(inner + _compact(v, inner) for v in value) + f"\n{indent}]"


if __name__ == "__main__":
    main()
