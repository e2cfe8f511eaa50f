"""The keeper bench as a picture: gas a request, by how many are settled at once. Pure."""

import math
from collections.abc import Mapping
from typing import Final

ALONE: Final = "request_on_chain"
BARS: Final = (
    (ALONE, "each by itself, on chain"),
    ("request_of_10_on_1", "10 of one position"),
    ("request_of_100_on_1", "100 of one position"),
    ("request_of_1000_on_1", "1,000 of one position"),
    ("request_of_10_on_10", "10 of 10 positions"),
    ("request_of_100_on_100", "100 of 100 positions"),
    ("request_of_1000_on_100", "1,000 of 100 positions"),
)
WIDTH: Final = 720
LEFT, LENGTH, LINE, TOP, FOOT = 190, 330, 34, 64, 34


def draw(gas: Mapping[str, float]) -> str:
    """Return gas a request by the name of its row as bars, in SVG; their scale is logarithmic."""
    alone = gas[ALONE]
    bars = [(label, gas[name], name) for name, label in BARS if name in gas]
    bottom = TOP + LINE * len(bars)
    height = bottom + FOOT
    decades = range(1, math.ceil(math.log10(alone)) + 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}"'
        f' height="{height}" role="img" aria-labelledby="title"'
        ' font-family="system-ui, sans-serif" font-size="14">',
        '<title id="title">Gas of a request, by how many are held and settled at once</title>',
        "<style>text{fill:#1b1f24}.dim{fill:#59636e}.back{fill:#fff}.ours{fill:#0b7a5c}"
        ".other{fill:#b7bfc8}.line{stroke:#d1d9e0}@media(prefers-color-scheme:dark)"
        "{text{fill:#f0f3f6}.dim{fill:#9aa4af}.back{fill:#0d1117}.ours{fill:#2bb58c}"
        ".other{fill:#566070}.line{stroke:#2a313a}}</style>",
        f'<rect class="back" width="{WIDTH}" height="{height}"/>',
        '<text x="16" y="26" font-size="16" font-weight="600">Gas of a request</text>',
        '<text class="dim" x="16" y="46" font-size="13">Held and settled together, a hold for'
        " every batch; whole transactions, logarithmic</text>",
    ]
    for decade in decades:
        x = LEFT + _scale(10**decade, decades[-1])
        parts += [
            f'<line class="line" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 4}" y2="{bottom}"/>',
            f'<text class="dim" x="{x:.1f}" y="{bottom + 18}" text-anchor="middle"'
            f' font-size="12">{10**decade:,}</text>',
        ]
    for place, (label, each, name) in enumerate(bars):
        y = TOP + LINE * place
        length = _scale(each, decades[-1])
        less = "" if name == ALONE else f" ({alone / each:,.{0 if alone / each >= 10 else 1}f} x)"
        parts += [
            f'<text x="{LEFT - 12}" y="{y + 17}" text-anchor="end">{label}</text>',
            f'<rect class="{"other" if name == ALONE else "ours"}" x="{LEFT}" y="{y + 2}"'
            f' width="{length:.1f}" height="22" rx="3"/>',
            f'<text x="{LEFT + length + 8:.1f}" y="{y + 18}">{each:,.0f}{less}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _scale(gas: float, decades: int) -> float:
    """Return a length: 0 for 1 gas."""
    return max(2.0, LENGTH * math.log10(max(1.0, gas)) / decades)
