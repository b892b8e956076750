"""Characters to toned pinyin, the spelling that the synthesiser reads."""

from functools import lru_cache

from pypinyin import Style, lazy_pinyin

# Fillers get syllables of their own, so that each maps to one character.
_FIXED = {"嗯": "en5", "呃": "e5", "啊": "a5", "幺": "yao1", "的": "de5"}
_MARKS = "，。？！"


@lru_cache(maxsize=100_000)
def _clause(text: str) -> tuple[str, ...]:
    read = lazy_pinyin(
        text,
        style=Style.TONE3,
        neutral_tone_with_five=True,
        v_to_u=False,
        errors=list,
    )
    if len(read) != len(text):
        raise ValueError(f"{text!r} has {len(read)} syllables")
    return tuple(_FIXED.get(c, s) for c, s in zip(text, read, strict=True))


def syllables(text: str) -> tuple[str, ...]:
    """One toned syllable for every character that is not a mark, tones 1 to 5, ü as v."""
    clauses = [clause for clause in _split(text) if clause]
    return tuple(syllable for clause in clauses for syllable in _clause(clause))


def _split(text: str) -> list[str]:
    for mark in _MARKS:
        text = text.replace(mark, "\n")
    return text.split("\n")


def spoken(text: str) -> str:
    """The text as the synthesiser takes it: syllables, with a pause where a mark stands."""
    out = []
    clause = ""
    for character in text:
        if character in _MARKS:
            out.append(" ".join(_clause(clause)) + {"，": ",", "？": "?"}.get(character, "."))
            clause = ""
        else:
            clause += character
    if clause:
        out.append(" ".join(_clause(clause)))
    return " ".join(out)
