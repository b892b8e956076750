"""The text and the words of a sentence."""

from asr_server.state.sentence import render
from asr_server.text.tokens import Token


def heard(*pieces: str, each: int = 1600) -> list[Token]:
    """Tokens one after another, 100 ms each."""
    return [Token(p, i * each, (i + 1) * each, 0.9) for i, p in enumerate(pieces)]


def test_the_text_is_the_words_joined():
    tokens = heard("你", "好", "hel@@", "lo", "world", "</s>")
    shown = render(tokens, begin=0, end=9600, final=True, itn=True, punctuation=True)
    assert shown.text.startswith("你好hello world")
    assert "".join(w.text + w.punctuation for w in shown.words) == shown.text
