"""Sign-in messages by EIP-4361: what a wallet shows, parsed strictly. Pure.

A message that says anything beyond the standard's fields, or says a field twice, is refused: what
was signed must mean one thing only. Times are RFC 3339.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

CLOCK_TOLERANCE_S: Final = 5 * 60
"""How far a message's times may be from ours, either way."""

_HEAD: Final = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://)?(?P<domain>[^\s/?#@]+) wants you to sign in with"
    r" your Ethereum account:\n(?P<address>0x[0-9a-fA-F]{40})\n\n(?:(?P<statement>[^\n]+)\n)?\n"
)
_FIELDS: Final = (
    ("URI", True),
    ("Version", True),
    ("Chain ID", True),
    ("Nonce", True),
    ("Issued At", True),
    ("Expiration Time", False),
    ("Not Before", False),
    ("Request ID", False),
)
_NONCE: Final = re.compile(r"[A-Za-z0-9]{8,128}")
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,18}")


class SiweInvalid(ValueError):
    """The message is not one by EIP-4361, or not for us, or not for now; the text says why."""


@dataclass(frozen=True, slots=True)
class SiweMessage:
    """A parsed message. ``address`` in lower case; times are Unix seconds."""

    domain: str
    address: str
    statement: str | None
    uri: str
    chain_id: int
    nonce: str
    issued_at_s: float
    expires_at_s: float | None
    not_before_s: float | None
    resources: tuple[str, ...]

    def check(self, *, domain: str, chain_id: int, now_s: float) -> None:
        """Raise ``SiweInvalid`` unless the message is for this domain and chain, and for now.

        Without an expiration time of its own a message is good for five minutes.
        """
        if self.domain.lower() != domain.lower():
            raise SiweInvalid(f"the message is for {self.domain!r}, not for {domain!r}")
        if urlsplit(self.uri).netloc.lower() != domain.lower():
            raise SiweInvalid("the URI is not of the message's domain")
        if self.chain_id != chain_id:
            raise SiweInvalid(f"the message is for chain {self.chain_id}, not for {chain_id}")
        if self.issued_at_s > now_s + CLOCK_TOLERANCE_S:
            raise SiweInvalid("the message is issued in the future")
        expires_at_s = self.issued_at_s + CLOCK_TOLERANCE_S
        if self.expires_at_s is not None:
            expires_at_s = self.expires_at_s
        if now_s >= expires_at_s:
            raise SiweInvalid("the message has expired: sign a new one")
        if self.not_before_s is not None and now_s < self.not_before_s:
            raise SiweInvalid("the message is not valid yet")


def parse_siwe(text: str) -> SiweMessage:
    """Return what a message says. Raises ``SiweInvalid``."""
    head = _HEAD.match(text)
    if head is None:
        raise SiweInvalid("the message does not begin as EIP-4361 wants it")
    lines = text[head.end() :].split("\n")
    values, rest = _read_fields(lines)
    if values["Version"] != "1":
        raise SiweInvalid("the version is not 1")
    if _NUMBER.fullmatch(values["Chain ID"]) is None:
        raise SiweInvalid("the chain id is not a number")
    if _NONCE.fullmatch(values["Nonce"]) is None:
        raise SiweInvalid("the nonce is not of 8 or more letters and digits")
    return SiweMessage(
        domain=head["domain"],
        address=head["address"].lower(),
        statement=head["statement"],
        uri=values["URI"],
        chain_id=int(values["Chain ID"]),
        nonce=values["Nonce"],
        issued_at_s=_read_time(values["Issued At"]),
        expires_at_s=_read_optional_time(values.get("Expiration Time")),
        not_before_s=_read_optional_time(values.get("Not Before")),
        resources=_read_resources(rest),
    )


def build_siwe(
    *,
    domain: str,
    address: str,
    statement: str,
    uri: str,
    chain_id: int,
    nonce: str,
    issued_at: datetime,
    resources: Sequence[str],
) -> str:
    """Return the text to sign."""
    lines = [
        f"{domain} wants you to sign in with your Ethereum account:",
        address,
        "",
        statement,
        "",
        f"URI: {uri}",
        "Version: 1",
        f"Chain ID: {chain_id}",
        f"Nonce: {nonce}",
        f"Issued At: {issued_at.isoformat(timespec='milliseconds').replace('+00:00', 'Z')}",
        "Resources:",
        *(f"- {resource}" for resource in resources),
    ]
    return "\n".join(lines)


def _read_fields(lines: Sequence[str]) -> tuple[dict[str, str], Sequence[str]]:
    """Return the fields, in the standard's order only, and the lines that are left."""
    values: dict[str, str] = {}
    at = 0
    for name, required in _FIELDS:
        prefix = f"{name}: "
        if at < len(lines) and lines[at].startswith(prefix):
            values[name] = lines[at].removeprefix(prefix)
            at += 1
        elif required:
            raise SiweInvalid(f"the line {name!r} is missing or out of order")
    return values, lines[at:]


def _read_resources(lines: Sequence[str]) -> tuple[str, ...]:
    if not lines:
        return ()
    if lines[0] != "Resources:" or not all(line.startswith("- ") for line in lines[1:]):
        raise SiweInvalid("the message does not end as EIP-4361 wants it")
    return tuple(line.removeprefix("- ") for line in lines[1:])


def _read_optional_time(text: str | None) -> float | None:
    return None if text is None else _read_time(text)


def _read_time(text: str) -> float:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise SiweInvalid(f"{text!r} is not a time") from None
    if parsed.tzinfo is None:
        raise SiweInvalid(f"{text!r} names no time zone")
    return parsed.timestamp()
