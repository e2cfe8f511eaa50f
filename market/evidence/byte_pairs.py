"""How many tokens a plain text is by a model's own vocabulary: byte pairs, merged by rank.

The vocabulary is a file in the form that ``tiktoken`` publishes: a line for each token, with its
bytes in base64 and its rank. Words are split as vocabularies of 100,000 tokens do. Only ASCII is
counted, where that split needs no tables of Unicode, and little of it digits, which vocabularies
group in different ways. Nothing of a text is kept.
"""

import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

CHARACTERS_MAX: Final = 8_192
"""Longer texts are not counted: that would hold up the requests of others."""
DIGITS_MAX: Final = 0.1
"""The largest part of a text that digits may be."""
WORD_CHARACTERS_MAX: Final = 64
"""Nor texts with longer words: merging takes a time that grows with the square of a word."""

_NO_PAIR: Final = 2**62
"""Above every rank."""
_SPLIT: Final = re.compile(
    r"'(?:[sdmtSDMT]|ll|LL|ve|VE|re|RE)|[^\r\na-zA-Z0-9]?[a-zA-Z]+|[0-9]{1,3}"
    r"| ?[^\sa-zA-Z0-9]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A model's tokens, by rank."""

    ranks: Mapping[bytes, int]

    def count(self, text: str) -> int | None:
        """Return how many tokens a text is, None where that is not counted here."""
        if len(text) > CHARACTERS_MAX or not text.isascii():
            return None
        if sum(map(str.isdigit, text)) > DIGITS_MAX * len(text):
            return None
        words = _SPLIT.findall(text)
        if any(len(word) > WORD_CHARACTERS_MAX for word in words):
            return None
        return sum(count_merged(word.encode(), self.ranks) for word in words)


def count_merged(word: bytes, ranks: Mapping[bytes, int]) -> int:
    """Return how many tokens are left once all pairs are merged, those of the lowest rank first."""
    if word in ranks:
        return 1
    parts = [word[place : place + 1] for place in range(len(word))]
    pairs = [ranks.get(one + other, _NO_PAIR) for one, other in pairwise(parts)]
    while pairs and (best := min(pairs)) < _NO_PAIR:
        i = pairs.index(best)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
        del pairs[i]
        # Only the two pairs beside it are others now.
        for place in (i - 1, i):
            if 0 <= place < len(pairs):
                pairs[place] = ranks.get(parts[place] + parts[place + 1], _NO_PAIR)
    return len(parts)


def read_vocabulary(data: bytes) -> Vocabulary:
    """Read a vocabulary's file. Raises ``ValueError`` for anything else."""
    ranks = {}
    for line in data.split(b"\n"):
        if line.strip():
            token, rank = line.split()
            ranks[b64decode(token, validate=True)] = int(rank)
    if not all(bytes((value,)) in ranks for value in range(256)):
        raise ValueError("a vocabulary of byte pairs has each of the 256 bytes")
    return Vocabulary(ranks)
