"""Words of others for a terminal: none of them may move its cursor or hide what stands there."""

import re
from typing import Final

_CONTROLS: Final = re.compile(
    # C0 but for tab and newline, C1, and what turns the direction of a line around.
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
)


def clean_line(text: str) -> str:
    """Return one line of only what is printable; ``?`` in place of everything else."""
    return "".join(one if one.isprintable() else "?" for one in text)


def clean_lines(text: str) -> str:
    """Return a text as it is, its lines too, with ``?`` in place of what controls a terminal."""
    return _CONTROLS.sub("?", text.replace("\r\n", "\n"))
