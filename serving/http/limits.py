"""How often a client may come and how long its headers may be: token buckets, client addresses.

Buckets are in this process only: several processes let several times as much through. They protect
the process; money is protected by the ledger.
"""

import functools
import hmac
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Final

from starlette.types import Receive, Scope

from serving.http.bodies import BodyRules, find_header, parse_bearer, read_body
from serving.http.errors import headers_too_large, monitor_only, rate_limited
from serving.http.open_bodies import BodyOwner, OpenBodies

SIGN_IN_BYTES_MAX: Final = 256 * 1024
"""A message and a signature, each as JSON may spell it."""
BUCKETS_MAX: Final = 100_000
"""The buckets that were unused for longest are forgotten first: they are full again anyhow."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_LOOPBACK: Final = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


class Buckets:
    """One bucket of tokens for each key; each takes ``per_minute`` and fills up evenly.

    ``per_minute`` 0 limits nothing. ``clock`` is monotonic, in seconds.
    """

    def __init__(self, per_minute: int, *, what: str, clock: Callable[[], float]) -> None:
        self._per_minute = per_minute
        self._what = what
        self._clock = clock
        self._full_at_s: OrderedDict[Hashable, float] = OrderedDict()
        """When each bucket would be full again."""

    @property
    def is_limiting(self) -> bool:
        """Whether there is a limit at all."""
        return self._per_minute > 0

    def take(self, key: Hashable) -> None:
        """Take one token. Raises 429 ``rate_limited`` where the bucket is empty."""
        if self._per_minute == 0:
            return
        now_s = self._clock()
        token_s = 60.0 / self._per_minute
        full_at_s = max(self._full_at_s.get(key, now_s), now_s) + token_s
        # A full bucket holds a minute's worth.
        wait_s = full_at_s - now_s - 60.0
        if wait_s > 1e-9:
            raise rate_limited(max(1, math.ceil(wait_s)), self._what)
        self._full_at_s[key] = full_at_s
        self._full_at_s.move_to_end(key)
        if len(self._full_at_s) > BUCKETS_MAX:
            self._full_at_s.popitem(last=False)


class Limits:
    """What a server bounds before it looks at who asks. All rates are requests a minute; 0 limits
    nothing."""

    def __init__(
        self,
        *,
        headers_bytes_max: int,
        key_per_minute: int,
        address_per_minute: int,
        sign_in_per_minute: int,
        trusted: Sequence[Network] = (),
        open_body_bytes_max: int = 128 * 1024**2,
        metrics_token: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        def build(per_minute: int, what: str) -> Buckets:
            return Buckets(per_minute, what=what, clock=clock)

        self.headers_bytes_max = headers_bytes_max
        self._trusted = tuple(trusted)
        self._open_bodies = OpenBodies(open_body_bytes_max)
        self._metrics_token = metrics_token
        self._by_key = build(key_per_minute, "of this key")
        self._by_address = build(address_per_minute, "from this address")
        self._nonces = build(sign_in_per_minute, "for sign-ins from this address")
        self._keys = build(sign_in_per_minute, "for keys from this address")

    def address_of(self, scope: Scope) -> str:
        """Return what a client is counted by: see ``get_address``."""
        return get_address(scope, self._trusted)

    def check(self, scope: Scope) -> None:
        """Raise 431 for headers that are too long, 429 for an address that comes too often."""
        size = len(scope.get("raw_path") or b"") + len(scope["query_string"])
        for name, value in scope["headers"]:
            size += len(name) + len(value)
        if size > self.headers_bytes_max:
            raise headers_too_large(self.headers_bytes_max)
        if self._by_address.is_limiting:
            self._by_address.take(get_address(scope, self._trusted))

    def name_address(self, scope: Scope) -> str:
        """Return the client's address as limits count it."""
        return get_address(scope, self._trusted)

    def keep_open(self, scope: Scope, size: int) -> None:
        """Count what is kept of the body of a request that nobody has authenticated, in bytes.

        Raises 429 or 503 where the address, or all of them, have too much open.
        """
        self._open_bodies.keep(scope, BodyOwner(get_address(scope, self._trusted)), size)

    def release(self, scope: Scope) -> None:
        """Count a request's body no more: it was authenticated, or answered. Idempotent."""
        self._open_bodies.release(scope)

    async def read_body(
        self,
        scope: Scope,
        receive: Receive,
        rules: BodyRules,
        account: Hashable,
        *,
        is_proven: bool,
        bytes_max: int | None = None,
    ) -> bytes:
        """Return the body of an account's request, counted while it is read.

        Raises as ``serving.http.bodies.read_body`` does, and 429 or 503 where the account, or all
        of its kind, have too much open.
        """
        owner = BodyOwner(account, has_key=True, is_proven=is_proven)

        def keep(scope: Scope, size: int) -> None:
            self._open_bodies.keep(scope, owner, size)

        try:
            return await read_body(scope, receive, rules, bytes_max=bytes_max, keep_open=keep)
        finally:
            self._open_bodies.release(scope)

    async def read_sign_in(self, scope: Scope, receive: Receive, rules: BodyRules) -> bytes:
        """Return the body of a wish for a key, which nobody has authenticated yet.

        A sign-in has at most 256 KiB. Raises 429 where the address wishes too often, and as
        ``serving.http.bodies.read_body`` does.
        """
        self.take_key(scope)
        bytes_max = min(SIGN_IN_BYTES_MAX, rules.body_bytes_max)
        return await read_body(scope, receive, rules, bytes_max=bytes_max, keep_open=self.keep_open)

    def check_monitor(self, scope: Scope) -> None:
        """Raise 403 unless a request for metrics has the operator's token; without one, nobody has.

        Where a request comes from says nothing: what a reverse proxy on the same machine passes on
        looks like the operator's own, down to its headers.
        """
        said = parse_bearer(find_header(scope, b"authorization") or "") or ""
        is_said = hmac.compare_digest(said.encode(), self._metrics_token.encode())
        if not self._metrics_token or not is_said:
            raise monitor_only()

    def take_request(self, key: Hashable) -> None:
        """Count a request of this key. Raises 429 where it comes too often."""
        self._by_key.take(key)

    def take_nonce(self, scope: Scope) -> None:
        """Count an address's wish for something to sign. Raises 429 where it comes too often."""
        if self._nonces.is_limiting:
            self._nonces.take(get_address(scope, self._trusted))

    def take_key(self, scope: Scope) -> None:
        """Count an address's wish for a key. Raises 429 where it comes too often."""
        if self._keys.is_limiting:
            self._keys.take(get_address(scope, self._trusted))


def parse_networks(text: str) -> tuple[Network, ...]:
    """Return the networks of a list separated by white space or commas. Raises ``ValueError``."""
    return tuple(ipaddress.ip_network(part) for part in text.replace(",", " ").split())


def get_address(scope: Scope, trusted: Sequence[Network]) -> str:
    """Return the client's address, as a bucket's key.

    What ``X-Forwarded-For`` says counts only as far as trusted proxies have written it: the last
    address in it that is not one of theirs. An IPv6 address counts with its whole /64.
    """
    client = scope.get("client")
    peer = client[0] if client else ""
    if trusted and is_among(peer, trusted):
        forwarded = b",".join(v for name, v in scope["headers"] if name == b"x-forwarded-for")
        for hop in reversed(forwarded.decode("latin-1").split(",")):
            address = hop.strip()
            if _parse_address(address) is None:
                break  # the sender of this header is not trusted
            peer = address
            if not is_among(peer, trusted):
                break
    return as_key(peer)


def is_loopback(address: str) -> bool:
    """Tell whether an address is this machine's own."""
    return is_among(address, _LOOPBACK)


def is_among(address: str, networks: Sequence[Network]) -> bool:
    """Tell whether an address is of one of the networks; text that is no address is of none."""
    parsed = _parse_address(address)
    return parsed is not None and any(parsed in network for network in networks)


def _parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return parsed if mapped is None else mapped


@functools.lru_cache(4_096)
def as_key(address: str) -> str:
    """Return what a client's limits are counted by: its address, or the /64 of an IPv6 one."""
    parsed = _parse_address(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address if parsed is None else str(parsed)
