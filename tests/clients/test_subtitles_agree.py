"""`asr-server transcribe` and the Python client write the same subtitles."""

from AsrClient import Sentence as ClientSentence
from AsrClient import to_srt as client_srt
from AsrClient import to_vtt as client_vtt

from asr_server.protocol.events import Sentence
from asr_server.subtitles import to_srt, to_vtt


def test_sentences_that_fit_a_line_become_the_same_files():
    said = [
        (368, 3104, "今天天气怎么样？"),
        (4368, 7392, "你好，再见。"),
        (3_599_000, 3_601_500, "完。"),
        (3_602_000, 3_604_000, "A<B>&C。"),
    ]
    ours = [Sentence(n, begin, end, text, ()) for n, (begin, end, text) in enumerate(said)]
    theirs = [ClientSentence(n, begin, end, text) for n, (begin, end, text) in enumerate(said)]
    assert to_srt(ours) == client_srt(theirs)
    assert to_vtt(ours) == client_vtt(theirs)
