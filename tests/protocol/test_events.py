"""The server's frames are, byte for byte, the golden files."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from asr_server.errors import IdleTimeout
from asr_server.protocol import events
from asr_server.protocol.events import Sentence, Word

GOLDEN = Path(__file__).parent / "golden"
TASK = "9c3c6dff7f5746308312141c7c4671ad"

NI, HAO = Word(740, 900, "你", ""), Word(900, 1160, "好", "")
BEGIN = Sentence(1, 740, None, "你", (NI,), begins=True)
INTERIM = Sentence(1, 740, None, "你好啊", (NI, HAO, Word(1160, 1400, "啊", "")))
FINAL = Sentence(
    1, 640, 1640, "你好啊。", (Word(640, 900, "你", ""), HAO, Word(1160, 1640, "啊", "。"))
)
CONFIDENT = Sentence(
    1,
    640,
    1640,
    "你好啊。",
    (
        Word(640, 900, "你", "", 0.98),
        Word(900, 1160, "好", "", 0.97),
        Word(1160, 1640, "啊", "。", 0.9144),
    ),
)


QWEN = replace(FINAL, output_tokens=3)


def gummy(sentence: Sentence) -> Sentence:
    return Sentence(0, sentence.begin_time, sentence.end_time, sentence.text, sentence.words)


FRAMES = {
    "task-started": events.task_started(TASK),
    "result-generated.begin": events.sentence(TASK, BEGIN),
    "result-generated.interim": events.sentence(TASK, INTERIM),
    "result-generated.final": events.sentence(TASK, FINAL),
    "result-generated.confidence": events.sentence(TASK, CONFIDENT),
    "result-generated.heartbeat": events.heartbeat(TASK),
    "qwen.result-generated.final": events.sentence(TASK, QWEN),
    "qwen.task-finished": events.task_finished(TASK, events.usage(QWEN)),
    "gummy.result-generated.interim": events.transcription(TASK, gummy(INTERIM)),
    "gummy.result-generated.final": events.transcription(TASK, gummy(FINAL)),
    "task-finished": events.task_finished(TASK),
    "task-failed": events.task_failed(TASK, IdleTimeout(23)),
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_equals_its_golden_file(name):
    assert FRAMES[name] + "\n" == (GOLDEN / f"{name}.json").read_text(encoding="utf-8")


def test_every_golden_file_of_the_server_is_made_by_a_function():
    files = {path.stem for path in GOLDEN.glob("*.json")}
    assert {name for name in files if "-task" not in name} == set(FRAMES)


def test_a_long_final_fits_the_smallest_read_buffer_of_a_known_client():
    words = tuple(Word(i * 200, i * 200 + 200, "字", "") for i in range(30))
    frame = events.sentence(TASK, Sentence(1, 0, 6000, "字" * 30, words))
    assert len(frame.encode()) < 4096  # the C# sample reads no more at once


def test_the_usage_of_a_final_counts_begun_seconds():
    frames = [events.sentence(TASK, Sentence(1, 0, end, "好", ())) for end in (1, 1000, 1001)]
    assert [json.loads(f)["payload"]["usage"] for f in frames] == [
        {"duration": 1},
        {"duration": 1},
        {"duration": 2},
    ]
