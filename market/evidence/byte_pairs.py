"""How many tokens a plain text is by a model's own vocabulary: byte pairs, merged by rank.

The vocabulary is a file in the form that ``tiktoken`` publishes: a line for each token, with its
bytes in base64 and its rank. Words are split as vocabularies of 100,000 tokens do. Only ASCII is
counted, where that split needs no tables of Unicode, and little of it digits, which vocabularies
group in different ways.
"""

import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

CHARACTERS_MAX: Final = 16_384
"""Longer texts are not counted: that would hold up the requests of others."""
DIGITS_MAX: Final = 0.1
"""The largest part of a text that digits may be."""
WORDS_KEPT: Final = 65_536

_SPLIT: Final = re.compile(
    r"'(?:[sdmtSDMT]|ll|LL|ve|VE|re|RE)|[^\r\na-zA-Z0-9]?[a-zA-Z]+|[0-9]{1,3}"
    r"| ?[^\sa-zA-Z0-9]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(slots=True)
class Vocabulary:
    """A model's tokens, by rank."""

    ranks: Mapping[bytes, int]
    kept: dict[str, int] = field(default_factory=dict)
    """Tokens of words that were counted before."""

    def count(self, text: str) -> int | None:
        """Return how many tokens a text is, None where that is not counted here."""
        if len(text) > CHARACTERS_MAX or not text.isascii():
            return None
        if sum(map(str.isdigit, text)) > DIGITS_MAX * len(text):
            return None
        return sum(self._count_word(word) for word in _SPLIT.findall(text))

    def _count_word(self, word: str) -> int:
        known = self.kept.get(word)
        if known is None:
            known = count_merged(word.encode(), self.ranks)
            if len(self.kept) < WORDS_KEPT:
                self.kept[word] = known
        return known


def count_merged(word: bytes, ranks: Mapping[bytes, int]) -> int:
    """Return how many tokens are left once all pairs are merged, those of the lowest rank first."""
    if word in ranks:
        return 1
    parts = [word[place : place + 1] for place in range(len(word))]
    while len(parts) > 1:
        pairs = ((ranks.get(parts[i] + parts[i + 1]), i) for i in range(len(parts) - 1))
        best = min(((rank, i) for rank, i in pairs if rank is not None), default=None)
        if best is None:
            break
        i = best[1]
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
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
