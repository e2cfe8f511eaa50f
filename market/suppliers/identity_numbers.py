"""Identity numbers: normalised, checked for their type, and never kept. Pure.

A number lives between the body of a request and its digest. Nothing here shows it: no error quotes
it, and its ``repr`` says nothing.
"""

import unicodedata
from dataclasses import dataclass
from typing import Final

ID_TYPES: Final = ("passport", "national_id", "drivers_license")
DIGITS_MIN: Final = 2
_LENGTHS: Final = {"passport": (5, 20), "national_id": (4, 30), "drivers_license": (4, 30)}
_DROPPED: Final = frozenset("-.\u2010\u2011\u2012\u2013\u2014\u2212\u00ad\uff0d\u3002/")
_CN_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CN_CHECKS: Final = "10X98765432"
_DOMAIN: Final = b"Current identity number v1"


@dataclass(frozen=True, slots=True)
class IdentityNumber:
    """A number on its way to its digest."""

    country: str
    id_type: str
    _normal: str

    def __repr__(self) -> str:
        return "IdentityNumber(…)"

    def message(self) -> bytes:
        """Return what its digest is made over: the same number of another country or type has
        another digest."""
        parts = (self.country, self.id_type, self._normal)
        return b"\0".join((_DOMAIN, *(part.encode() for part in parts)))


def read_identity_number(text: str, *, country: str, id_type: str) -> IdentityNumber | None:
    """Return a number as it is compared, or None where it cannot be one of its type.

    Spaces, hyphens, dots and slashes do not count, nor does case, nor which digits of Unicode.
    """
    normal = normalise(text)
    low, high = _LENGTHS[id_type]
    if not low <= len(normal) <= high or not normal.isalnum():
        return None
    if sum(character.isdecimal() for character in normal) < DIGITS_MIN:
        return None
    if id_type == "passport" and not normal.isascii():
        return None
    if country == "CN" and id_type == "national_id" and not _is_chinese(normal):
        return None
    return IdentityNumber(country, id_type, normal)


def normalise(text: str) -> str:
    """Return a number by NFKC, in upper case, its digits in ASCII, without what separates them."""
    folded = unicodedata.normalize("NFKC", text).upper()
    kept = []
    for character in unicodedata.normalize("NFKC", folded):
        if character in _DROPPED or character.isspace():
            continue
        digit = unicodedata.decimal(character, None)
        kept.append(character if digit is None else str(digit))
    return "".join(kept)


def _is_chinese(normal: str) -> bool:
    """Tell whether a resident's number has the right check digit (GB 11643, ISO 7064 MOD 11-2)."""
    if len(normal) != 18 or not normal[:17].isdecimal() or not normal.isascii():
        return False
    total = sum(weight * int(digit) for weight, digit in zip(_CN_WEIGHTS, normal, strict=False))
    return _CN_CHECKS[total % 11] == normal[17]
