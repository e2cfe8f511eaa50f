"""Calling addresses that strangers chose, without being led into our own network.

A URL that a stranger gave, a seller's base URL or a webhook's, must be https, without credentials
or fragment. Its host is resolved here; unless every address is a public one nothing is sent. The
address that was checked is the one that is called: the client is told it, and asks no resolver of
its own. Redirects are not followed.

For a devnet, loopback (also without TLS) is allowed by an explicit setting, and nothing else.
"""

import asyncio
import ipaddress
import re
import socket
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit

from pyreqwest.client import Client
from pyreqwest.http import Url

from contracts.errors import Rejected
from serving.models.upstream import ClientRules, configure_client

URL_MAX: Final = 2_000
CLIENTS_MAX: Final = 1_000
RESOLVED_FOR_S: Final = 60.0
Origin = tuple[str, str, int]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

_HOST: Final = re.compile(r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)(\.[a-z0-9-]{1,63})*")
_NUMERIC: Final = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)")
_TRANSLATED: Final = tuple(
    # Addresses of IPv6 that stand for one of IPv4: a translator on the way could turn inwards.
    ipaddress.ip_network(network)
    for network in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96")
)


class UrlRefused(Rejected):
    """A base URL that must not be called; the text says why and can be shown to the seller."""


@dataclass(frozen=True, slots=True)
class Target:
    """A base URL taken apart. ``host`` is in lower case, an IPv6 address without brackets."""

    url: str
    scheme: str
    host: str
    port: int

    @property
    def origin(self) -> Origin:
        """Scheme, host and port."""
        return self.scheme, self.host, self.port


@dataclass(frozen=True, slots=True)
class DialRules:
    """What may be called, and how long to wait. Times in seconds."""

    allow_loopback: bool = False
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 120.0
    """Longest silence of a seller, also before its first byte."""
    connections_max: int = 128
    """The most connections to one seller's address."""
    ports: frozenset[int] | None = None
    """The ports that may be called, None for all. Loopback, where allowed, may have any."""
    own: frozenset[Origin] = frozenset()
    """Where this deployment itself is: what calls it would go in a circle."""
    user_agent: str = "current-market"


@dataclass(frozen=True, slots=True)
class _Line:
    """A client that calls one address only."""

    client: Client
    address: str | None
    checked_at: float
    """When the address was checked, on the monotonic clock."""


def parse_base_url(text: str, *, allow_loopback: bool) -> Target:
    """Return a base URL's parts, without a slash at its end. Raises ``UrlRefused``."""
    if "?" in text or "#" in text:
        raise UrlRefused("the URL must not have credentials, a query or a fragment")
    target = parse_artifact_url(text, allow_loopback=allow_loopback)
    return replace(target, url=target.url.rstrip("/"))


def read_origin(url: str) -> Origin:
    """Return where a URL of the operator's leads: it may be one that no seller may have."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return parts.scheme, (parts.hostname or "").lower(), port


def parse_artifact_url(text: str, *, allow_loopback: bool) -> Target:
    """Return the parts of a URL that may have a query. Raises ``UrlRefused``."""
    if len(text) > URL_MAX or not text.isascii() or not text.isprintable() or " " in text:
        raise UrlRefused("the URL is not plain ASCII of at most 2,000 characters")
    if "\\" in text:
        raise UrlRefused("the URL has a backslash")
    try:
        parts = urlsplit(text)
        port = parts.port
        # What the client cannot read is refused here, and not first where it is called.
        Url(text)
    except ValueError:
        raise UrlRefused("the URL cannot be parsed") from None
    if parts.scheme not in (("https", "http") if allow_loopback else ("https",)):
        raise UrlRefused("the URL must begin with https://")
    if "@" in parts.netloc or "#" in text:
        raise UrlRefused("the URL must not have credentials, a query or a fragment")
    host = (parts.hostname or "").lower()
    if not _is_host(host):
        raise UrlRefused("the URL names no host")
    if parts.scheme == "http" and host != "localhost" and not _is_loopback_literal(host):
        raise UrlRefused("the URL must begin with https://")
    default = 443 if parts.scheme == "https" else 80
    chosen = default if port is None else port
    if chosen == 0:
        raise UrlRefused("the URL names port 0")
    return Target(text, parts.scheme, host, chosen)


def _is_host(host: str) -> bool:
    if _as_address(host) is not None:
        return True
    # Numbers in other spellings mean different addresses to different parsers.
    last = host.rsplit(".", 1)[-1]
    return _HOST.fullmatch(host) is not None and _NUMERIC.fullmatch(last) is None


def _as_address(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_loopback_literal(host: str) -> bool:
    address = _as_address(host)
    return address is not None and address.is_loopback


def check_address(text: str, *, allow_loopback: bool) -> None:
    """Raise ``UrlRefused`` unless an address is public, or loopback where that is allowed."""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback and allow_loopback:
        return
    is_public = address.is_global and not (
        address.is_multicast or address.is_reserved or address.is_unspecified
    )
    if isinstance(address, ipaddress.IPv6Address):
        is_public = is_public and not address.is_site_local
        is_public = is_public and not any(address in network for network in _TRANSLATED)
    if not is_public:
        # The address itself is not told: it may be of the network that this runs in.
        raise UrlRefused("the URL's host is not on the public internet")


async def resolve_by_system(host: str, port: int) -> Sequence[str]:
    """Return a host's addresses, from the system's resolver; empty where it has none."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [str(entry[4][0]).partition("%")[0] for entry in found]


class Dialer:
    """Hands out clients that each call one checked address. To be made inside an event loop."""

    def __init__(self, rules: DialRules, *, resolve: Resolve = resolve_by_system) -> None:
        self.rules = rules
        self._resolve = resolve
        self._lines: OrderedDict[Origin, _Line] = OrderedDict()

    async def dial(self, base_url: str) -> tuple[Client, str]:
        """Return a client for a base URL, and the URL as it is to be called.

        Raises ``UrlRefused``, and ``TimeoutError`` where the resolver does not answer.
        """
        target = parse_base_url(base_url, allow_loopback=self.rules.allow_loopback)
        return await self._get_client(target), target.url

    async def dial_artifact(self, url: str) -> tuple[Client, str, Origin]:
        """Return the same for something to fetch, whose URL may have a query; and its origin."""
        target = parse_artifact_url(url, allow_loopback=self.rules.allow_loopback)
        return await self._get_client(target), target.url, target.origin

    def get_origin(self, base_url: str) -> Origin:
        """Return where a base URL leads. Raises ``UrlRefused``."""
        return parse_base_url(base_url, allow_loopback=self.rules.allow_loopback).origin

    def _check_place(self, target: Target) -> None:
        if target.origin in self.rules.own:
            raise UrlRefused("the URL is this server's own")
        ports = self.rules.ports
        if ports is not None and target.port not in ports and not self.rules.allow_loopback:
            raise UrlRefused(
                f"the URL's port is none that is called here: {', '.join(map(str, sorted(ports)))}"
            )

    async def _get_client(self, target: Target) -> Client:
        self._check_place(target)
        key = target.origin
        line = self._lines.get(key)
        if line is None or time.monotonic() - line.checked_at > RESOLVED_FOR_S:
            line = await self._check(target, line)
            self._lines[key] = line
            if len(self._lines) > CLIENTS_MAX:
                self._lines.popitem(last=False)
        self._lines.move_to_end(key)
        return line.client

    async def check(self, base_url: str) -> None:
        """Refuse a base URL whose host is known not to be public. Raises ``UrlRefused``."""
        await self._check_known(parse_base_url(base_url, allow_loopback=self.rules.allow_loopback))

    async def check_artifact(self, url: str) -> None:
        """Refuse the same of a URL that may have a query. Raises ``UrlRefused``."""
        await self._check_known(parse_artifact_url(url, allow_loopback=self.rules.allow_loopback))

    async def _check_known(self, target: Target) -> None:
        self._check_place(target)
        try:
            addresses = await self._find_addresses(target)
        except TimeoutError:
            return
        self._check_addresses(target, addresses)

    async def close(self) -> None:
        """Close all connections."""
        lines, self._lines = self._lines, OrderedDict()
        for line in lines.values():
            await line.client.close()

    async def _check(self, target: Target, old: _Line | None) -> _Line:
        now = time.monotonic()
        literal = _as_address(target.host)
        addresses = await self._find_addresses(target)
        if not addresses:
            raise UrlRefused("the URL's host is not known")
        self._check_addresses(target, addresses)
        if old is not None and (old.address is None or old.address in addresses):
            return _Line(old.client, old.address, now)
        pinned = None if literal is not None else addresses[0]
        return _Line(self._build(target, pinned), pinned, now)

    async def _find_addresses(self, target: Target) -> Sequence[str]:
        if _as_address(target.host) is not None:
            return [target.host]
        async with asyncio.timeout(self.rules.connect_timeout_s):
            return await self._resolve(target.host, target.port)

    def _check_addresses(self, target: Target, addresses: Sequence[str]) -> None:
        for address in addresses:
            check_address(address, allow_loopback=self.rules.allow_loopback)
        if target.scheme == "http" and not all(map(_is_loopback, addresses)):
            raise UrlRefused("the URL must begin with https://")

    def _build(self, target: Target, pinned: str | None) -> Client:
        rules = self.rules
        builder = configure_client(
            ClientRules(
                connect_timeout_s=rules.connect_timeout_s,
                read_timeout_s=rules.read_timeout_s,
                pool_timeout_s=rules.connect_timeout_s,
                connections_max=rules.connections_max,
            ),
            user_agent=rules.user_agent,
        ).https_only(target.scheme == "https")
        if pinned is not None:
            builder = builder.resolve(target.host, pinned, target.port)
        return builder.build()


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback
