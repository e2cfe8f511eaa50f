"""Asking a market over HTTP with a seller's or a buyer's key, for commands."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from contracts.errors import Fatal, Rejected, Retryable
from serving.process.terminal_text import clean_line

if TYPE_CHECKING:
    import httpx

MARKET_URL: Final = "http://127.0.0.1:8403"
SELLER_KEY_VARIABLE: Final = "CURRENT_SELLER_KEY"
BUYER_KEY_VARIABLE: Final = "CURRENT_MARKET_KEY"
TIMEOUT_S: Final = 180.0
"""A request waits at the market until its payment has settled, and for slow models."""


class MarketKeyMissing(Fatal):
    """No key of the market was given."""


class MarketSilent(Retryable):
    """The market did not answer."""


class MarketRefused(Rejected):
    """The market answered with an error; the text is its message."""


def read_key(variable: str, key_file: Path | None) -> str:
    """Return a key from a file, else from the environment. Raises ``MarketKeyMissing``."""
    text = os.environ.get(variable, "")
    if key_file is not None:
        text = key_file.read_text(encoding="ascii")
    if not text.strip():
        raise MarketKeyMissing(f"no key: set {variable}, or name a file that holds it")
    return text.strip()


class Market:
    """One market, asked with a key or, where ``key`` is None, without one."""

    def __init__(self, url: str, key: str | None) -> None:
        self.url = url.rstrip("/")
        self._key = key

    def send(
        self, method: str, path: str, body: object = None, *, headers: dict[str, str] | None = None
    ) -> "httpx.Response":
        """Return the market's answer, whatever it is. Raises ``MarketSilent``."""
        import httpx

        sent = dict(headers or {})
        if self._key is not None:
            sent["authorization"] = f"Bearer {self._key}"
        try:
            return httpx.request(
                method, self.url + path, json=body, headers=sent, timeout=TIMEOUT_S
            )
        except httpx.HTTPError as error:
            raise MarketSilent(f"the market did not answer: {type(error).__name__}") from None

    def ask(
        self, method: str, path: str, body: object = None, *, headers: dict[str, str] | None = None
    ) -> Any:
        """Return the JSON of an answer. Raises ``MarketSilent``, ``MarketRefused``."""
        return read_answer(self.send(method, path, body, headers=headers))


def read_answer(answer: "httpx.Response") -> Any:
    """Return an answer's JSON. Raises ``MarketRefused`` with the market's own words."""
    try:
        read = answer.json()
    except (ValueError, RecursionError):
        if not answer.is_error:
            raise MarketRefused("the market's answer is no JSON that can be read") from None
        read = {}
    if answer.is_error:
        told = read.get("error") if isinstance(read, dict) else None
        message = told.get("message") if isinstance(told, dict) else None
        words = clean_line(str(message)) if message else ""
        raise MarketRefused(words or f"the market answered with {answer.status_code}")
    return read
