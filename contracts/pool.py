"""Several endpoints of one chain, read as if they were one.

With a quorum of 1 one endpoint is asked, as long as it is good; the others take over where it
fails. With a quorum of k, k endpoints gave every answer; an endpoint that k others
contradict is named, and set aside after it did so again.

::

    an endpoint's answer
    ├── used; it stays the first to be asked
    ├── not there yet: the next endpoint is asked
    ├── failed: it rests, up to ``REST_MAX_S`` with jitter, or as long as it says itself
    ├── of another chain: set aside for ``WRONG_CHAIN_REST_S``; all of them: ``WrongChain``
    └── contradicted by a quorum: after some strikes set aside, longer each time
"""

import random
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from contracts.agreement import essence_of, find_failure, raw_essence_of, require_all
from contracts.blocks import Header
from contracts.node_errors import (
    BodyTooLarge,
    MethodMissing,
    NodeFailure,
    NodeRefused,
    NodeUnavailable,
    NotYet,
    RangeRefused,
    WrongChain,
)
from contracts.pool_endpoint import EndpointState, Listener, NodeEndpoint
from contracts.quorum import Ask, Quorum
from contracts.reader import ChainReader, RawLog
from contracts.transport import Answer, Call, Transport

T = TypeVar("T")

CHAIN_CHECK_S: Final = 60.0
WRONG_CHAIN_REST_S: Final = 30.0
SCOUT_S: Final = 2.0
"""How often the heads of the endpoints that are not asked are looked at."""
SCOUT_LEAD: Final = 2
"""How many blocks another endpoint must be ahead before the one in use counts as stuck."""


def _ignore(_name: str, _failure: NodeFailure, _detail: str) -> None:
    pass


class ChainPool(ChainReader):
    """Reads through several endpoints. ``transport`` may be used by several threads."""

    def __init__(
        self,
        transports: Mapping[str, Transport],
        *,
        chain_id: int,
        quorum: int = 1,
        listener: Listener = _ignore,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        assert 1 <= quorum <= len(transports)
        super().__init__(_PoolTransport(self))
        self._endpoints = [
            NodeEndpoint(name, transport, listener) for name, transport in transports.items()
        ]
        self._current = self._endpoints[0]
        self._chain_id = chain_id
        self._listener = listener
        self._clock = clock
        self._quorum = Quorum(
            quorum, ask=self._ask, usable=self._some_usable, listener=listener, clock=clock
        )
        self._scouted_at_s = clock()

    def close(self) -> None:
        """Let the endpoints' threads end."""
        for endpoint in self._endpoints:
            endpoint.close()

    def list_states(self) -> list[EndpointState]:
        """Return what is known of each endpoint now; no endpoint is asked for it."""
        now_s = self._clock()
        return [
            EndpointState(
                name=one.name,
                serves=one.rests_until_s <= now_s
                and (one is self._current or self._quorum.size > 1),
                head_number=one.head_seen,
                rests_for_s=max(0.0, one.rests_until_s - now_s),
            )
            for one in self._endpoints
        ]

    # ---------------------------------------------------------------------------------------- reads

    def fetch_chain_id(self) -> int:
        """Return the chain id: of every endpoint that is not set aside, it is the one wanted."""
        return self._read(lambda reader: reader.fetch_chain_id())

    def fetch_code_size(self, address: str) -> int:
        return self._read(lambda reader: reader.fetch_code_size(address))

    def fetch_head(self) -> Header:
        """Return the newest block; with a quorum, the newest that so many endpoints agree on."""
        if self._quorum.size > 1:
            return self._quorum.agree_on_head(self.fetch_headers)
        head = self._read(lambda reader: reader.fetch_head())
        self._current.head_seen = head.number
        leader = self._scout()
        if leader is None or (leader.head_seen or 0) <= head.number + SCOUT_LEAD:
            return head
        behind = (leader.head_seen or 0) - head.number
        self._fail(
            self._current, NodeUnavailable(f"{behind} behind", failure=NodeFailure.LAGGING_HEAD)
        )
        self._current = leader
        return self._read(lambda reader: reader.fetch_head())

    def fetch_headers(self, numbers: Sequence[int]) -> list[Header | None]:
        return self._read(
            lambda reader: reader.fetch_headers(numbers),
            key=lambda headers: tuple(None if one is None else one.ref for one in headers),
        )

    def fetch_head_and_logs(
        self, block_hash: str, addresses: Sequence[str]
    ) -> tuple[Header, list[RawLog] | None]:
        if self._quorum.size > 1:
            return self._quorum.agree_on_head(self.fetch_headers), None
        answer = self._read(lambda reader: reader.fetch_head_and_logs(block_hash, addresses))
        self._current.head_seen = answer[0].number
        return answer

    def fetch_logs(self, first: int, last: int, addresses: Sequence[str]) -> list[RawLog]:
        return self._read(
            lambda reader: reader.fetch_logs(first, last, addresses),
            key=essence_of,
            can_shrink=True,
        )

    def fetch_range(
        self, first: int, last: int, addresses: Sequence[str]
    ) -> tuple[Header, list[RawLog]]:
        return self._read(
            lambda reader: reader.fetch_range(first, last, addresses),
            key=lambda answer: (answer[0].block_hash, essence_of(answer[1])),
            can_shrink=True,
        )

    def fetch_blocks_logs(
        self, block_hashes: Sequence[str], addresses: Sequence[str]
    ) -> list[list[RawLog]]:
        if self._quorum.size == 1:
            return self._read(lambda reader: reader.fetch_blocks_logs(block_hashes, addresses))
        # All or nothing: shorter answers of different lengths would look like contradictions.
        return self._read(
            lambda reader: require_all(
                reader.fetch_blocks_logs(block_hashes, addresses), block_hashes
            ),
            key=lambda blocks: tuple(map(essence_of, blocks)),
        )

    def fetch_receipt_logs(self, header: Header, addresses: Sequence[str]) -> list[RawLog]:
        return self._read(
            lambda reader: reader.fetch_receipt_logs(header, addresses), key=essence_of
        )

    def second(self) -> ChainReader | None:
        """Return a usable endpoint's reader other than the one in use; None with a quorum."""
        if self._quorum.size > 1:
            return None
        others = [one for one in self._usable() if one is not self._current]
        return random.choice(others).reader if others else None

    def suspect(self, error: NodeUnavailable | NodeRefused) -> None:
        self._fail(self._current, error)
        others = [one for one in self._usable() if one is not self._current]
        if others and self._quorum.size == 1:
            self._current = others[0]

    def doubt_chain(self) -> None:
        for endpoint in self._endpoints:
            endpoint.checked_connections = -1

    def read_raw(self, calls: Sequence[Call]) -> list[Answer]:
        """Return one endpoint's answers, all of one batch; with a quorum, as so many give them.

        An error among them is that endpoint's failure, so that the next one is asked; what every
        endpoint would answer is no failure: a revert. Where each endpoint fails in one of the
        calls, the answers of the last one are returned with its errors.
        """
        flawed: list[list[Answer]] = []

        def ask(reader: ChainReader) -> list[Answer]:
            answers = reader.transport.request_batch(calls)
            failure = find_failure(answers)
            if failure is None:
                return answers
            flawed.append(answers)
            raise failure

        try:
            return self._read(
                ask, key=lambda answers: tuple(map(raw_essence_of, answers)), can_shrink=True
            )
        except (NodeUnavailable, NodeRefused):
            if not flawed:
                raise
            return flawed[-1]

    # ---------------------------------------------------------------------------- one after another

    def _read(
        self,
        ask: Ask[T],
        *,
        key: Callable[[T], Hashable] | None = None,
        can_shrink: bool = False,
    ) -> T:
        """Return the first usable answer; where ``key`` tells answers apart, the agreed one.

        ``can_shrink`` says that the caller would rather ask for less than ask another endpoint.
        """
        if self._quorum.size > 1 and key is not None:
            return self._quorum.agree(ask, key)
        last: NodeUnavailable | NodeRefused | None = None
        for endpoint in self._usable():
            try:
                value = self._ask(endpoint, ask)
            except WrongChain:
                continue
            except (NodeUnavailable, NodeRefused) as error:
                if can_shrink and isinstance(error, (RangeRefused, BodyTooLarge)):
                    raise
                last = error
                continue
            self._current = endpoint
            return value
        raise last if last is not None else self._nobody()

    def _usable(self) -> list[NodeEndpoint]:
        """Return the endpoints that do not rest, the one in use first."""
        now_s = self._clock()
        others = [one for one in self._endpoints if one is not self._current]
        return [one for one in (self._current, *others) if one.rests_until_s <= now_s]

    def _some_usable(self) -> list[NodeEndpoint]:
        """Return the same, one at least."""
        usable = self._usable()
        if not usable:
            raise self._nobody()
        return usable

    def _nobody(self) -> Exception:
        if all(endpoint.serves_another_chain for endpoint in self._endpoints):
            return WrongChain(f"no endpoint serves chain {self._chain_id}")
        return NodeUnavailable("every endpoint rests or is set aside")

    def _ask(self, endpoint: NodeEndpoint, ask: Ask[T]) -> T:
        """Ask one endpoint, and see to it that it is on the right chain before that counts."""
        try:
            value = ask(endpoint.reader)
            due_s = endpoint.checked_at_s + CHAIN_CHECK_S
            opened = endpoint.connections_opened
            if endpoint.checked_connections != opened or self._clock() >= due_s:
                self._check_chain(endpoint)
                endpoint.checked_connections = opened
        except (RangeRefused, BodyTooLarge, MethodMissing) as error:
            self._listener(endpoint.name, error.failure, str(error))
            raise
        except (NodeUnavailable, NodeRefused) as error:
            self._fail(endpoint, error)
            raise
        if endpoint.failures:
            endpoint.failures = 0
        return value

    def _check_chain(self, endpoint: NodeEndpoint) -> None:
        served = endpoint.reader.fetch_chain_id()
        endpoint.checked_at_s = self._clock()
        endpoint.serves_another_chain = served != self._chain_id
        if endpoint.serves_another_chain:
            error = WrongChain(f"chain {served} instead of {self._chain_id}")
            endpoint.rests_until_s = self._clock() + WRONG_CHAIN_REST_S
            endpoint.checked_connections = -1
            self._listener(endpoint.name, error.failure, str(error))
            raise error

    def _fail(self, endpoint: NodeEndpoint, error: NodeUnavailable | NodeRefused) -> None:
        """Note a failure and let the endpoint rest, unless its answer merely is not there yet."""
        self._listener(endpoint.name, error.failure, str(error))
        wish_s = getattr(error, "retry_after_s", None)
        if wish_s is not None:
            endpoint.rests_until_s = self._clock() + wish_s
        elif len(self._endpoints) > 1 and not isinstance(error, NotYet):
            # A lone endpoint's rest is its caller's business.
            endpoint.rest(now_s=self._clock())

    def _scout(self) -> NodeEndpoint | None:
        """Return the other endpoint with the highest head; look at their heads now and then."""
        others = [one for one in self._usable() if one is not self._current]
        now_s = self._clock()
        if now_s - self._scouted_at_s >= SCOUT_S:
            self._scouted_at_s = now_s
            for endpoint in others:
                if not endpoint.is_stuck(now_s=now_s):
                    endpoint.submit(partial(self._look_at_head, endpoint), now_s=now_s)
        seen = [one for one in others if one.head_seen is not None]
        return max(seen, key=lambda one: one.head_seen or 0, default=None)

    def _look_at_head(self, endpoint: NodeEndpoint) -> None:
        try:
            endpoint.head_seen = self._ask(endpoint, lambda reader: reader.fetch_head()).number
        except (NodeUnavailable, NodeRefused, WrongChain):
            endpoint.head_seen = None


class _PoolTransport:
    """Plain requests through a pool: whichever endpoint answers."""

    def __init__(self, pool: ChainPool) -> None:
        self._pool = pool

    def request(self, method: str, params: list[Any]) -> Any:
        [answer] = self.request_batch([(method, params)])
        if isinstance(answer, (NodeUnavailable, NodeRefused)):
            raise answer
        return answer

    def request_batch(self, calls: Sequence[Call]) -> list[Answer]:
        return self._pool.read_raw(calls)
