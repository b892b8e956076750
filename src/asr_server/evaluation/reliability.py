"""The reliability diagram: how often words of each confidence are right, as an SVG.

It follows the reader's light or dark theme and needs nothing beside itself, so the same drawing
stands in the page and in documents.
"""

import math
from collections.abc import Iterator, Sequence

from asr_server.evaluation.calibration import BINS, Bin, calibration_error

SIDE, LEFT, TOP, GAP = 240, 52, 46, 70
HISTOGRAM = 44
"""Height of the counts below a panel."""
WIDTH = 2 * SIDE + LEFT + GAP + 16
HEIGHT = TOP + SIDE + HISTOGRAM + 62

STYLE = """
.rel{--ink:#1f2328;--soft:#6a737d;--line:#d8dee4;--bar:#2f6fdb;
font:12px system-ui,-apple-system,"Segoe UI","PingFang SC","Microsoft YaHei",sans-serif}
@media (prefers-color-scheme:dark){.rel{--ink:#e6edf3;--soft:#9aa4af;--line:#3a424c;
--bar:#6ea8ff}}
.rel text{fill:var(--ink)}.rel .soft{fill:var(--soft)}.rel .grid{stroke:var(--line)}
.rel .bar{fill:var(--bar);opacity:.28}.rel .count{fill:var(--soft);opacity:.55}
.rel .ideal{stroke:var(--soft);stroke-dasharray:4 4}.rel .dot{fill:var(--bar)}
.rel .span{stroke:var(--bar);stroke-width:1.5}
.rel .title{font-size:14px;font-weight:600}
""".replace("\n", "")


def diagram(words: Sequence[Bin], sentences: Sequence[Bin]) -> str:
    """Words on the left, sentences on the right."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="rel" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img" '
        'aria-label="Reliability diagram of word and sentence confidences">',
        f"<style>{STYLE}</style>",
        *_panel("Words 词", "share of words that are right 正确率", words, LEFT),
        *_panel(
            "Sentences 句",
            "share of characters that are right 字正确率",
            sentences,
            LEFT + SIDE + GAP,
        ),
        "</svg>",
    ]
    return "".join(parts)


def _panel(title: str, meaning: str, bins: Sequence[Bin], left: float) -> Iterator[str]:
    total = sum(one.count for one in bins)
    yield f'<g transform="translate({left} {TOP})">'
    yield f'<text class="title" x="0" y="-26">{title}</text>'
    yield (
        f'<text class="soft" x="0" y="-9">ECE {calibration_error(bins):.3f} · n = {total:,}</text>'
    )
    for tick in range(0, 11, 2):
        at = SIDE * tick / 10
        yield f'<path class="grid" d="M0 {SIDE - at:g}H{SIDE}M{at:g} 0V{SIDE}"/>'
        label = f"{tick / 10:g}"
        yield f'<text class="soft" x="-8" y="{SIDE - at + 4:g}" text-anchor="end">{label}</text>'
        foot = SIDE + HISTOGRAM + 22
        yield f'<text class="soft" x="{at:g}" y="{foot}" text-anchor="middle">{label}</text>'
    yield f'<path class="ideal" d="M0 {SIDE}L{SIDE} 0"/>'
    most = max((one.count for one in bins), default=0)
    for index, one in enumerate(bins):
        if one.count:
            yield from _bin(index, one, most)
    yield (
        f'<text class="soft" transform="translate(-36 {SIDE / 2:g}) rotate(-90)" '
        f'text-anchor="middle">{meaning}</text>'
    )
    yield (
        f'<text class="soft" x="{SIDE / 2:g}" y="{SIDE + HISTOGRAM + 40}" '
        'text-anchor="middle">confidence 置信度</text></g>'
    )


def _bin(index: int, one: Bin, most: int) -> Iterator[str]:
    width = SIDE / BINS
    at = index * width
    x, y = SIDE * one.confidence, SIDE * (1 - one.right)
    low, high = wilson(one.right, one.count)
    tall = HISTOGRAM * math.log1p(one.count) / math.log1p(most)
    yield (
        f"<g><title>{one.count:,}: {one.confidence:.3f} sure, {one.right:.3f} right</title>"
        f'<rect class="bar" x="{at + 1:g}" y="{y:.1f}" width="{width - 2:g}" '
        f'height="{SIDE - y:.1f}"/>'
        f'<rect class="count" x="{at + 1:g}" y="{SIDE + 6}" width="{width - 2:g}" '
        f'height="{tall:.1f}"/>'
        f'<path class="span" d="M{x:.1f} {SIDE * (1 - low):.1f}V{SIDE * (1 - high):.1f}"/>'
        f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/></g>'
    )


def wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share of `count` (Wilson, 1927)."""
    z = 1.96
    middle = share + z * z / (2 * count)
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)
