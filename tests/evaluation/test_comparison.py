"""What `evaluate --compare` finds between two runs."""

from pathlib import Path

import pytest

from asr_client.types import Sentence
from asr_server.evaluation.comparison import Recall, compare_runs, read_hotwords
from asr_server.evaluation.data_sets import DataSet
from asr_server.evaluation.scoring import score
from asr_server.evaluation.summary import Scored, Summary, summarise
from asr_server.recordings.files import RecordingError
from asr_server.recordings.manifest import Utterance

SPOKEN = {"a": "我叫陈晓敏", "b": "陈晓敏来了 陈晓敏走了", "c": "今天天气"}


def run(tail_s: float, **recognised: list[str]) -> Summary:
    """Return the figures of a run in which recordings had these sentences."""
    utterances = {name: Utterance(name, Path(name), SPOKEN[name]) for name in recognised}
    scored = [
        Scored(
            utterances[name],
            [Sentence(n, 0, 1, text) for n, text in enumerate(texts)],
            score(SPOKEN[name], " ".join(texts)),
            (),
            (),
            1.0,
            tail_s,
        )
        for name, texts in recognised.items()
    ]
    return summarise(DataSet("names", tuple(utterances.values()), 0), scored, [], 1.0)


def test_changed_sentences_rates_and_hotwords_are_those_of_both_runs() -> None:
    without = run(0.1, a=["我叫陈小敏"], b=["陈小敏来了", "陈晓敏走了"], c=["今天天气"])
    corrected = run(0.3, a=["我叫陈晓敏"], b=["陈晓敏来了", "陈晓敏走了"], c=["今天天气"])
    [found] = compare_runs([without], [corrected], ["陈晓敏"])
    assert (found.sentences, found.changed_sentences) == (4, 2)
    assert found.cer == (pytest.approx(2 / 19), 0.0)
    assert found.tail_s == (0.1, 0.3)
    assert found.hotwords == (Recall(3, 1), Recall(3, 3))


def test_what_only_one_run_recognised_is_not_compared() -> None:
    [found] = compare_runs([run(0.1, a=["我叫陈小敏"])], [run(0.1, c=["今天"])])
    assert (found.sentences, found.changed_sentences, found.hotwords) == (0, 0, None)


def test_a_list_of_hotwords_has_a_word_a_line_with_a_weight_or_without(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("陈晓敏\n\n智能 助手 5\nFunASR\t2\n", encoding="utf-8")
    assert read_hotwords(file) == {"陈晓敏": 4, "智能 助手": 5, "FunASR": 2}


def test_a_list_that_cannot_be_used_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("陈晓敏\n陈晓敏 9\n", encoding="utf-8")
    with pytest.raises(RecordingError, match=r"words\.txt, line 2: "):
        read_hotwords(file)
    file.write_text("\n", encoding="utf-8")
    with pytest.raises(RecordingError, match="contains no word"):
        read_hotwords(file)
    with pytest.raises(RecordingError, match="cannot be read"):
        read_hotwords(tmp_path / "none.txt")
