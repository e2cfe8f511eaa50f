"""Reading the fields that people fill in: text of any script, countries, dates, shares. Pure.

Nothing here quotes a value in an error: what is wrong may be an identity number in another field.
"""

import re
import unicodedata
from collections.abc import Collection, Mapping
from datetime import date
from typing import Any, Final
from urllib.parse import urlsplit

from market.suppliers.countries import COUNTRIES
from serving.http.errors import bad_request, wrong_type
from serving.http.strict_json import check_fields

URL_MAX: Final = 2_000
_SHARE: Final = re.compile(r"(\d{1,3})(?:\.(\d{1,2}))?")
_HOST: Final = re.compile(r"[^\s.]+(\.[^\s.]+)+")


class Fields:
    """The fields of one object. Each reader raises 400, and names the field.

    ``where`` stands before the names in errors. What is there and no reader knows is refused.
    """

    def __init__(self, body: Any, known: Collection[str], *, where: str = "") -> None:
        if not isinstance(body, dict):
            raise wrong_type(where or "body", "an object")
        self._body: Mapping[str, Any] = body
        self._where = f"{where}." if where else ""
        check_fields(body, known, where=self._where)

    def has(self, name: str) -> bool:
        """Tell whether a field is there and not null."""
        return self._body.get(name) is not None

    def get(self, name: str) -> Any:
        """Return a field as it was sent."""
        return self._body.get(name)

    def text(self, name: str, *, length_max: int, is_needed: bool = True) -> str | None:
        """Return a line of text in any script, trimmed, by NFC; None where it is left out."""
        value = self._read(name, is_needed)
        if value is None:
            return None
        if not isinstance(value, str):
            raise self.wrong(name, "text")
        text = unicodedata.normalize("NFC", value).strip()
        if not text and not is_needed:
            return None
        if not text or len(text) > length_max or not is_line(text):
            raise self.wrong(name, f"1 to {length_max} printable characters")
        return text

    def paragraphs(self, name: str, *, length_max: int, is_needed: bool = True) -> str | None:
        """Return text of several lines; None where it is left out."""
        value = self._read(name, is_needed)
        if value is None:
            return None
        if not isinstance(value, str):
            raise self.wrong(name, "text")
        lines = unicodedata.normalize("NFC", value).strip().splitlines()
        text = "\n".join(line.replace("\t", " ").rstrip() for line in lines)
        if not text and not is_needed:
            return None
        printable = all(is_line(line) for line in text.split("\n"))
        if not text or len(text) > length_max or not printable:
            raise self.wrong(name, f"1 to {length_max} printable characters")
        return text

    def country(self, name: str, *, is_needed: bool = True) -> str | None:
        """Return a country by ISO 3166-1 alpha-2."""
        value = self._read(name, is_needed)
        if value is None:
            return None
        if not isinstance(value, str) or value.strip().upper() not in COUNTRIES:
            raise self.wrong(name, "a country by ISO 3166-1 alpha-2, such as SG")
        return value.strip().upper()

    def choice(self, name: str, choices: Collection[str], *, is_needed: bool = True) -> str | None:
        """Return one of several words."""
        value = self._read(name, is_needed)
        if value is None:
            return None
        if not isinstance(value, str) or value not in choices:
            raise self.wrong(name, " or ".join(repr(str(one)) for one in choices))
        return value

    def day(self, name: str, *, until: date, is_needed: bool = True) -> str | None:
        """Return a date that is not after ``until``, by ISO 8601."""
        value = self._read(name, is_needed)
        if value is None:
            return None
        try:
            day = date.fromisoformat(value if isinstance(value, str) and len(value) == 10 else "")
        except ValueError:
            raise self.wrong(name, "a date such as 2019-03-31") from None
        if not date(1600, 1, 1) <= day <= until:
            raise self.wrong(name, "a date that has been")
        return day.isoformat()

    def url(self, name: str, *, is_needed: bool = True) -> str | None:
        """Return the address of a web site."""
        value = self._read(name, is_needed)
        if value is None:
            return None
        if not isinstance(value, str) or not is_site(value.strip()):
            raise self.wrong(name, "an http or https URL such as https://company.example")
        return value.strip()

    def integer(self, name: str, *, low: int, high: int, is_needed: bool = True) -> int | None:
        """Return an integer within bounds."""
        value = self._read(name, is_needed)
        if value is None:
            return None
        if type(value) is not int or not low <= value <= high:
            raise self.wrong(name, f"an integer from {low} to {high}")
        return value

    def flag(self, name: str) -> bool:
        """Return true or false; false where it is left out."""
        value = self._body.get(name, False)
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def share_bps(self, name: str) -> int:
        """Return a share in 1/10,000: per cent with at most two decimals, as text; 0 without."""
        value = self._body.get(name)
        if value is None:
            return 0
        match = _SHARE.fullmatch(value) if isinstance(value, str) and value.isascii() else None
        if match is None:
            raise self.wrong(name, "per cent with at most two decimals, as text, such as '12.5'")
        bps = int(match[1]) * 100 + int((match[2] or "").ljust(2, "0"))
        if bps > 10_000:
            raise self.wrong(name, "at most 100 per cent")
        return bps

    def list_of(self, name: str, *, count_max: int, is_needed: bool = True) -> list[Any]:
        """Return a list of at most ``count_max`` entries; empty where it is left out."""
        value = self._read(name, is_needed)
        if value is None:
            return []
        if not isinstance(value, list) or len(value) > count_max:
            raise self.wrong(name, f"a list of at most {count_max}")
        return value

    def texts(
        self, name: str, *, count_max: int, length_max: int, is_needed: bool = True
    ) -> list[str]:
        """Return a list of lines of text."""
        values = self.list_of(name, count_max=count_max, is_needed=is_needed)
        return [
            str(Fields({name: value}, (name,)).text(name, length_max=length_max))
            for value in values
        ]

    def wrong(self, name: str, expected: str) -> Exception:
        """Return the refusal of a field."""
        return wrong_type(self._where + name, expected)

    def _read(self, name: str, is_needed: bool) -> Any:
        value = self._body.get(name)
        if value is None and is_needed:
            raise bad_request(
                "field_missing", f"'{self._where}{name}' is missing.", param=self._where + name
            )
        return value


def is_line(text: str) -> bool:
    """Tell whether text is one line that a page and a terminal show as it is.

    Control and direction characters and lone surrogates are not printable. The joiners that
    scripts of South Asia and the Middle East need inside words are.
    """
    return text.replace("\u200c", "").replace("\u200d", "").isprintable()


def is_site(text: str) -> bool:
    """Tell whether this is the public address of a web site: no user, no bare host."""
    if len(text) > URL_MAX or not text.isprintable() or any(c.isspace() for c in text):
        return False
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    is_web = parts.scheme in ("http", "https") and "@" not in parts.netloc
    return is_web and port != 0 and _HOST.fullmatch(host) is not None
