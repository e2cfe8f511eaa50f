"""Bars as SVG, for every picture of a bench. Pure.

The picture has no script and no outside font, follows the reader's light or dark colours, and names
its subject for a screen reader.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

WIDTH: Final = 720
LEFT: Final = 190
LINE: Final = 34
TOP: Final = 64
FOOT_PLAIN: Final = 14
FOOT_SCALE: Final = 34
LENGTH_MIN: Final = 2.0
LENGTH_PLAIN: Final = 400
LENGTH_LOGARITHMIC: Final = 330
"""The longest bar; where the scale is logarithmic, the words beside a bar need more room."""

_STYLE: Final = (
    "<style>text{fill:#1b1f24}.dim{fill:#59636e}.back{fill:#fff}.ours{fill:#0b7a5c}"
    ".other{fill:#b7bfc8}.line{stroke:#d1d9e0}@media(prefers-color-scheme:dark)"
    "{text{fill:#f0f3f6}.dim{fill:#9aa4af}.back{fill:#0d1117}.ours{fill:#2bb58c}"
    ".other{fill:#566070}.line{stroke:#2a313a}}</style>"
)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: what it is of, its value (above 0), the words at its end."""

    label: str
    value: float
    words: str
    is_ours: bool


@dataclass(frozen=True, slots=True)
class Picture:
    """What stands above the bars, and their scale."""

    title: str
    heading: str
    subtitle: str
    is_logarithmic: bool = False
    """Bars then grow by powers of ten from 1, with a line at each of them."""


def draw(picture: Picture, bars: Sequence[Bar]) -> str:
    """Return the picture as an SVG document. ``bars`` is not empty."""
    largest = max(bar.value for bar in bars)
    decades = math.ceil(math.log10(largest)) if picture.is_logarithmic else 0
    bottom = TOP + LINE * len(bars)
    height = bottom + (FOOT_SCALE if picture.is_logarithmic else FOOT_PLAIN)
    parts = _draw_head(picture, height)
    for decade in range(1, decades + 1):
        parts += _draw_decade(decade, _scale(10**decade, largest, decades), bottom)
    for place, bar in enumerate(bars):
        parts += _draw_bar(bar, TOP + LINE * place, _scale(bar.value, largest, decades))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _scale(value: float, largest: float, decades: int) -> float:
    """Return a length: of a logarithmic scale 0 stands for 1, else for 0."""
    if decades:
        return max(LENGTH_MIN, LENGTH_LOGARITHMIC * math.log10(max(1.0, value)) / decades)
    return max(LENGTH_MIN, LENGTH_PLAIN * value / largest)


def _draw_head(picture: Picture, height: int) -> list[str]:
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}"'
        f' height="{height}" role="img" aria-labelledby="title"'
        ' font-family="system-ui, sans-serif" font-size="14">',
        f'<title id="title">{escape(picture.title)}</title>',
        _STYLE,
        f'<rect class="back" width="{WIDTH}" height="{height}"/>',
        f'<text x="16" y="26" font-size="16" font-weight="600">{escape(picture.heading)}</text>',
        f'<text class="dim" x="16" y="46" font-size="13">{escape(picture.subtitle)}</text>',
    ]


def _draw_decade(decade: int, length: float, bottom: int) -> list[str]:
    x = LEFT + length
    return [
        f'<line class="line" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 4}" y2="{bottom}"/>',
        f'<text class="dim" x="{x:.1f}" y="{bottom + 18}" text-anchor="middle"'
        f' font-size="12">{10**decade:,}</text>',
    ]


def _draw_bar(bar: Bar, y: int, length: float) -> list[str]:
    kind = "ours" if bar.is_ours else "other"
    return [
        f'<text x="{LEFT - 12}" y="{y + 17}" text-anchor="end">{escape(bar.label)}</text>',
        f'<rect class="{kind}" x="{LEFT}" y="{y + 2}" width="{length:.1f}" height="22" rx="3"/>',
        f'<text x="{LEFT + length + 8:.1f}" y="{y + 18}">{escape(bar.words)}</text>',
    ]
