"""Sign-in messages by EIP-4361: what a wallet shows, parsed strictly. Pure.

The standard's ABNF decides, of RFC 3986 and RFC 3339 where it leads there: a character that it does
not know, a line too many or a field said twice is refused, because what was signed must mean one
thing only.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

CLOCK_TOLERANCE_S: Final = 5 * 60
"""How far a message's times may be ahead of ours."""
LIFETIME_S: Final = 5 * 60
"""How long a message is good that names no end itself, unless more is allowed."""

# RFC 3986: what stands in a URI and, with spaces, in a statement.
_UNRESERVED: Final = r"A-Za-z0-9\-._~"
_SUB_DELIMS: Final = r"!$&'()*+,;="
_URI_CHARACTER: Final = rf"[{_UNRESERVED}{_SUB_DELIMS}:/?#\[\]@]|%[0-9A-Fa-f]{{2}}"

_HEAD: Final = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://)?"
    rf"(?P<domain>(?:[{_UNRESERVED}{_SUB_DELIMS}:\[\]]|%[0-9A-Fa-f]{{2}})+)"
    r" wants you to sign in with your Ethereum account:\n(?P<address>0x[0-9a-fA-F]{40})\n\n"
    rf"(?:(?P<statement>[{_UNRESERVED}{_SUB_DELIMS}:/?#\[\]@ ]+)\n)?\n"
)
_URI: Final = re.compile(rf"[A-Za-z][A-Za-z0-9+.-]*:(?:{_URI_CHARACTER})*")
_REQUEST_ID: Final = re.compile(rf"(?:[{_UNRESERVED}{_SUB_DELIMS}:@]|%[0-9A-Fa-f]{{2}})*")
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?"
    r"(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
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

    def check(
        self, *, domain: str, chain_id: int, now_s: float, lifetime_s: int = LIFETIME_S
    ) -> None:
        """Raise ``SiweInvalid`` unless the message is for this domain and chain, and for now.

        Without an expiration time of its own a message is good for ``lifetime_s``.
        """
        if self.domain.lower() != domain.lower():
            raise SiweInvalid(f"the message is for {self.domain!r}, not for {domain!r}")
        if _read_authority(self.uri).lower() != domain.lower():
            raise SiweInvalid("the URI is not of the message's domain")
        if self.chain_id != chain_id:
            raise SiweInvalid(f"the message is for chain {self.chain_id}, not for {chain_id}")
        if self.issued_at_s > now_s + CLOCK_TOLERANCE_S:
            raise SiweInvalid("the message is issued in the future")
        expires_at_s = self.issued_at_s + lifetime_s
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
    if _URI.fullmatch(values["URI"]) is None:
        raise SiweInvalid("the URI is not one by RFC 3986")
    if _REQUEST_ID.fullmatch(values.get("Request ID", "")) is None:
        raise SiweInvalid("the request id has characters that the standard does not know")
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


def _read_authority(uri: str) -> str:
    """Return a URI's host and port. Brackets that enclose no address are ``SiweInvalid``."""
    try:
        return urlsplit(uri).netloc
    except ValueError:
        raise SiweInvalid("the URI is not one by RFC 3986") from None


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
    resources = tuple(line.removeprefix("- ") for line in lines[1:])
    if not all(_URI.fullmatch(resource) for resource in resources):
        raise SiweInvalid("a resource is not a URI by RFC 3986")
    return resources


def _read_optional_time(text: str | None) -> float | None:
    return None if text is None else _read_time(text)


def _read_time(text: str) -> float:
    """Return a time by RFC 3339 as Unix seconds. The second of a leap second is refused."""
    try:
        if _TIME.fullmatch(text) is None:
            raise ValueError("not by RFC 3339")
        return datetime.fromisoformat(text.upper()).timestamp()
    except (ValueError, OverflowError):
        raise SiweInvalid(f"{text!r} is not a time by RFC 3339, with its time zone") from None
