"""How long an uploaded recording may be, as far as its bytes tell. Pure.

Uncompressed WAV and FLAC say it exactly. Of any other format only bounds are known: no common one
takes fewer bytes for a second than ``BYTES_PER_SECOND_MIN``.
"""

import struct
from dataclasses import dataclass
from typing import Final

BYTES_PER_SECOND_MIN: Final = 500
"""4 kbit/s: below what speech codecs in files use."""

BYTES_PER_SECOND_TYPICAL: Final = 8_000
_PCM: Final = (1, 3)


@dataclass(frozen=True, slots=True)
class Length:
    """Seconds, rounded up: what is likely, and what it cannot exceed."""

    estimate_s: int
    bound_s: int


def measure(content: bytes) -> Length:
    """Return how long a recording is. At least a second."""
    exact_s = _read_wav(content) or _read_flac(content)
    if exact_s is not None:
        return Length(exact_s, exact_s)
    return Length(
        max(1, -(-len(content) // BYTES_PER_SECOND_TYPICAL)),
        max(1, -(-len(content) // BYTES_PER_SECOND_MIN)),
    )


def _read_wav(content: bytes) -> int | None:
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        return None
    at, bytes_per_second = 12, 0
    while at + 8 <= len(content):
        name, size = content[at : at + 4], struct.unpack_from("<I", content, at + 4)[0]
        if name == b"fmt " and size >= 16 and at + 24 <= len(content):
            kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", content, at + 8)
            # By what decoders go by; the rate of bytes that the header states may say anything.
            bytes_per_second = rate * channels * bits // 8 if kind in _PCM else 0
        if name == b"data":
            if bytes_per_second < 1:
                return None
            # All that follows, whatever length the header states: a decoder may read on.
            return max(1, -(-(len(content) - at - 8) // bytes_per_second))
        at += 8 + size + size % 2
    return None


def _read_flac(content: bytes) -> int | None:
    if content[:4] != b"fLaC" or len(content) < 26 or content[4] & 0x7F != 0:
        return None
    packed = int.from_bytes(content[18:26], "big")
    rate, samples = packed >> 44, packed & (2**36 - 1)
    if rate == 0 or samples == 0:
        return None
    seconds = max(1, -(-samples // rate))
    # Silence packs well, but not beyond every measure.
    return seconds if seconds <= 3_600 + len(content) // BYTES_PER_SECOND_MIN else None
