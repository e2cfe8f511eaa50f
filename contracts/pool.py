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
import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any, Final, TypeVar

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
from contracts.reader import ChainReader, RawLog
from contracts.transport import Answer, Call, Transport

T = TypeVar("T")
Ask = Callable[[ChainReader], T]
Listener = Callable[[str, NodeFailure, str], None]
"""Hears of every failure: the endpoint's name, which failure, and in its own words."""

WORKERS: Final = 4
"""Requests that one endpoint is asked at the same time."""
REST_S: Final = 0.1
REST_MAX_S: Final = 0.75
"""A failing endpoint is asked again within a second of being good, so that the mirror is, too."""
CHAIN_CHECK_S: Final = 60.0
WRONG_CHAIN_REST_S: Final = 30.0
SET_ASIDE_S: Final = 30.0
SET_ASIDE_MAX_S: Final = 600.0
STRIKES_MAX: Final = 3
STRIKE_LIFE_S: Final = 600.0
ANSWER_WAIT_S: Final = 30.0
STRAGGLER_WAIT_S: Final = 0.25
"""How long the other endpoints' heads are waited for once a quorum has shown one."""
SCOUT_S: Final = 2.0
"""How often the heads of the endpoints that are not asked are looked at."""
SCOUT_LEAD: Final = 2
"""How many blocks another endpoint must be ahead before the one in use counts as stuck."""

_LOG_FIELDS: Final = ("blockHash", "logIndex", "address", "topics", "data", "transactionHash")


class NodeEndpoint:
    """The state of one endpoint. ``transport`` counts its connections."""

    def __init__(self, name: str, transport: Transport, listener: Listener) -> None:
        self.name = name
        self.reader = ChainReader(transport, note=lambda *said: listener(name, *said))
        self.rests_until_s = 0.0
        self.serves_another_chain = False
        self.failures = 0
        self.strikes = 0
        self.struck_at_s = 0.0
        self.times_set_aside = 0
        self.checked_connections = -1
        self.checked_at_s = 0.0
        self.head_seen: int | None = None
        self._transport = transport
        self._executor = ThreadPoolExecutor(WORKERS, thread_name_prefix="endpoint")
        self._asked: list[tuple[float, Future[Any]]] = []
        self._lock = threading.Lock()

    @property
    def connections_opened(self) -> int:
        return int(getattr(self._transport, "connections_opened", 0))

    def is_stuck(self, *, now_s: float) -> bool:
        """Tell whether something asked of it a while ago is not answered yet."""
        with self._lock:
            self._asked = [(at_s, future) for at_s, future in self._asked if not future.done()]
            return any(now_s - at_s > STRAGGLER_WAIT_S for at_s, _ in self._asked)

    def submit(self, ask: Callable[[], T], *, now_s: float) -> "Future[T]":
        """Ask in the endpoint's own threads: a slow endpoint delays no other."""
        future = self._executor.submit(ask)
        with self._lock:
            self._asked.append((now_s, future))
        return future

    def close(self) -> None:
        """Let the thread end; what it is doing is not waited for."""
        self._executor.shutdown(wait=False, cancel_futures=True)


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
        self._quorum = quorum
        self._listener = listener
        self._clock = clock
        self._lock = threading.Lock()
        self._scouted_at_s = clock()

    def close(self) -> None:
        """Let the endpoints' threads end."""
        for endpoint in self._endpoints:
            endpoint.close()

    # ---------------------------------------------------------------------------------------- reads

    def fetch_chain_id(self) -> int:
        """Return the chain id: of every endpoint that is not set aside, it is the one wanted."""
        return self._read(lambda reader: reader.fetch_chain_id())

    def fetch_code_size(self, address: str) -> int:
        return self._read(lambda reader: reader.fetch_code_size(address))

    def fetch_head(self) -> Header:
        """Return the newest block; with a quorum, the newest that so many endpoints agree on."""
        if self._quorum > 1:
            return self._agree_on_head()
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
        if self._quorum > 1:
            return self._agree_on_head(), None
        return self._read(lambda reader: reader.fetch_head_and_logs(block_hash, addresses))

    def fetch_logs(self, first: int, last: int, addresses: Sequence[str]) -> list[RawLog]:
        return self._read(
            lambda reader: reader.fetch_logs(first, last, addresses), key=_essence, can_shrink=True
        )

    def fetch_range(
        self, first: int, last: int, addresses: Sequence[str]
    ) -> tuple[Header, list[RawLog]]:
        return self._read(
            lambda reader: reader.fetch_range(first, last, addresses),
            key=lambda answer: (answer[0].block_hash, _essence(answer[1])),
            can_shrink=True,
        )

    def fetch_blocks_logs(
        self, block_hashes: Sequence[str], addresses: Sequence[str]
    ) -> list[list[RawLog]]:
        if self._quorum == 1:
            return self._read(lambda reader: reader.fetch_blocks_logs(block_hashes, addresses))
        # All or nothing: shorter answers of different lengths would look like contradictions.
        return self._read(
            lambda reader: _all_of(reader.fetch_blocks_logs(block_hashes, addresses), block_hashes),
            key=lambda blocks: tuple(map(_essence, blocks)),
        )

    def fetch_receipt_logs(self, header: Header, addresses: Sequence[str]) -> list[RawLog]:
        return self._read(lambda reader: reader.fetch_receipt_logs(header, addresses), key=_essence)

    def second(self) -> ChainReader | None:
        """Return a usable endpoint's reader other than the one in use; None with a quorum."""
        if self._quorum > 1:
            return None
        others = [one for one in self._usable() if one is not self._current]
        return random.choice(others).reader if others else None

    def suspect(self, error: NodeUnavailable | NodeRefused) -> None:
        self._fail(self._current, error)
        others = [one for one in self._usable() if one is not self._current]
        if others and self._quorum == 1:
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
            failure = _find_failure(answers)
            if failure is None:
                return answers
            flawed.append(answers)
            raise failure

        try:
            return self._read(
                ask, key=lambda answers: tuple(map(_raw_essence, answers)), can_shrink=True
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
        if self._quorum > 1 and key is not None:
            return self._agree(ask, key)
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
            endpoint.failures += 1
            rest_s = min(REST_MAX_S, REST_S * 2.0 ** min(endpoint.failures - 1, 8))
            endpoint.rests_until_s = self._clock() + rest_s * random.uniform(0.5, 1)

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

    # ------------------------------------------------------------------------------------- agreeing

    def _agree_on_head(self) -> Header:
        """Return the newest block that a quorum has, by hash."""
        asked = self._submit(lambda reader: reader.fetch_head())
        heads = self._collect(asked, enough=self._has_agreement)
        votes: dict[str, list[NodeEndpoint]] = {}
        by_hash: dict[str, Header] = {}
        for endpoint, head in heads.items():
            votes.setdefault(head.block_hash, []).append(endpoint)
            by_hash[head.block_hash] = head
        agreed = [by_hash[one] for one, names in votes.items() if len(names) >= self._quorum]
        if agreed:
            head = max(agreed, key=lambda one: one.number)
            for future, endpoint in asked.items():
                future.add_done_callback(partial(self._judge_head, endpoint, head))
            return head
        numbers = sorted((head.number for head in heads.values()), reverse=True)
        if len(numbers) < self._quorum:
            raise self._no_quorum(f"{len(numbers)} of {self._quorum} heads")
        # The newest height that so many have reached; they may still disagree about its block.
        [header] = self.fetch_headers([numbers[self._quorum - 1]])
        if header is None:
            raise self._no_quorum(f"nobody has block {numbers[self._quorum - 1]} any more")
        return header

    def _judge_head(self, endpoint: NodeEndpoint, agreed: Header, future: "Future[Header]") -> None:
        if future.cancelled() or future.exception() is not None:
            return
        shown = future.result()
        if shown.number == agreed.number and shown.block_hash != agreed.block_hash:
            self._strike(endpoint, f"block {agreed.number}, which a quorum agrees on")

    def _has_agreement(self, heads: Mapping[NodeEndpoint, Header]) -> bool:
        hashes = [head.block_hash for head in heads.values()]
        return any(hashes.count(one) >= self._quorum for one in hashes)

    def _collect(
        self,
        asked: Mapping["Future[T]", NodeEndpoint],
        *,
        enough: Callable[[Mapping[NodeEndpoint, T]], bool],
    ) -> dict[NodeEndpoint, T]:
        """Return the answers that are there when it is ``enough``, or shortly after a quorum."""
        answers: dict[NodeEndpoint, T] = {}
        deadline_s = time.monotonic() + ANSWER_WAIT_S
        pending = set(asked)
        while pending and not enough(answers):
            left_s = max(0.0, deadline_s - time.monotonic())
            done, pending = wait(pending, timeout=left_s, return_when=FIRST_COMPLETED)
            if not done:
                break
            for future in done:
                if future.exception() is None:
                    answers[asked[future]] = future.result()
            if len(answers) >= self._quorum:
                deadline_s = min(deadline_s, time.monotonic() + STRAGGLER_WAIT_S)
        return answers

    def _agree(self, ask: Ask[T], key: Callable[[T], Hashable]) -> T:
        """Return the answer that a quorum gives; an endpoint that contradicts it gets a strike.

        An answer that is None, or all None, contradicts no other: that endpoint lags.
        """
        asked = self._submit(ask)
        voters: dict[Hashable, int] = {}
        pending = set(asked)
        deadline_s = time.monotonic() + ANSWER_WAIT_S
        errors: list[BaseException] = []
        while pending:
            left_s = max(0.0, deadline_s - time.monotonic())
            done, pending = wait(pending, timeout=left_s, return_when=FIRST_COMPLETED)
            if not done:
                break
            for future in done:
                error = future.exception()
                if error is not None:
                    errors.append(error)
                    continue
                value = future.result()
                vote = key(value)
                voters[vote] = voters.get(vote, 0) + 1
                if voters[vote] >= self._quorum:
                    for other, endpoint in asked.items():
                        other.add_done_callback(self._judge(endpoint, key, vote))
                    return value
        for error in errors:
            if isinstance(error, (RangeRefused, BodyTooLarge, MethodMissing)):
                raise error
        raise self._no_quorum(f"{max(voters.values(), default=0)} of {self._quorum} agree")

    def _submit(self, ask: Ask[T]) -> dict["Future[T]", NodeEndpoint]:
        now_s = self._clock()
        usable = self._usable()
        if not usable:
            raise self._nobody()
        moving = [one for one in usable if not one.is_stuck(now_s=now_s)]
        if len(moving) < self._quorum:
            moving = usable
        return {one.submit(partial(self._ask, one, ask), now_s=now_s): one for one in moving}

    def _judge(
        self, endpoint: NodeEndpoint, key: Callable[[T], Hashable], agreed: Hashable
    ) -> Callable[["Future[T]"], None]:
        def judge(future: "Future[T]") -> None:
            if future.cancelled() or future.exception() is not None:
                return
            value: Any = future.result()
            if key(value) == agreed or (
                isinstance(value, list) and value and all(one is None for one in value)
            ):
                return
            self._strike(endpoint, "what a quorum agrees on")

        return judge

    def _strike(self, endpoint: NodeEndpoint, what: str) -> None:
        """Name an endpoint that a quorum contradicts; set it aside where it does so again."""
        self._listener(endpoint.name, NodeFailure.OUTVOTED, f"contradicts {what}")
        with self._lock:
            now_s = self._clock()
            if now_s - endpoint.struck_at_s > STRIKE_LIFE_S:
                endpoint.strikes = 0  # honest nodes are on the losing side of a fork now and then
            endpoint.struck_at_s = now_s
            endpoint.strikes += 1
            if endpoint.strikes < STRIKES_MAX:
                return
            endpoint.strikes = STRIKES_MAX - 1  # on trial: the next one sets it aside again
            rest_s = min(SET_ASIDE_MAX_S, SET_ASIDE_S * 2.0 ** min(endpoint.times_set_aside, 8))
            endpoint.times_set_aside += 1
            endpoint.rests_until_s = now_s + rest_s
        self._listener(endpoint.name, NodeFailure.OUTVOTED, f"set aside for {rest_s:.0f} s")

    def _no_quorum(self, detail: str) -> NotYet:
        self._listener("all", NodeFailure.NO_QUORUM, detail)
        return NotYet(f"no quorum: {detail}", failure=NodeFailure.NO_QUORUM)


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


def _essence(logs: Sequence[RawLog]) -> Hashable:
    """Return what of some logs two nodes must agree on; not all say the time."""
    return tuple(
        (log.block_hash, log.log_index, log.address, log.topics, log.data, log.tx_hash)
        for log in logs
    )


def _find_failure(answers: Sequence[Answer]) -> NodeUnavailable | NodeRefused | None:
    """Return what failed of a batch's answers, None where every answer is the chain's own.

    A range that is too long comes first: its caller would rather ask for less.
    """
    failures = [
        answer
        for answer in answers
        if isinstance(answer, NodeUnavailable)
        or (isinstance(answer, NodeRefused) and answer.revert_reason is None)
    ]
    failures.sort(key=lambda failure: not isinstance(failure, (RangeRefused, BodyTooLarge)))
    return failures[0] if failures else None


def _raw_essence(answer: Any) -> Hashable:
    """Return what of an answer as JSON two nodes must agree on, be it logs or a block."""
    if isinstance(answer, dict) and "parentHash" in answer:
        return answer.get("number"), answer.get("hash"), answer["parentHash"]
    if isinstance(answer, list):
        return tuple(
            tuple(str(log.get(name)) for name in _LOG_FIELDS) if isinstance(log, dict) else log
            for log in answer
        )
    return str(answer)


def _all_of(blocks: list[list[RawLog]], block_hashes: Sequence[str]) -> list[list[RawLog]]:
    if len(blocks) < len(block_hashes):
        raise NotYet("logs of a block are not there yet", failure=NodeFailure.UNKNOWN_BLOCK)
    return blocks
