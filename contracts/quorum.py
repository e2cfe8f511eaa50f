"""An answer that so many endpoints give, and who contradicts it."""

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from contracts.blocks import Header
from contracts.node_errors import (
    BodyTooLarge,
    MethodMissing,
    NodeFailure,
    NotYet,
    RangeRefused,
)
from contracts.pool_endpoint import STRAGGLER_WAIT_S, Listener, NodeEndpoint
from contracts.reader import ChainReader

T = TypeVar("T")
Ask = Callable[[ChainReader], T]

ANSWER_WAIT_S: Final = 30.0


class AskOne(Protocol):
    """Asks one endpoint, and notes how that went."""

    def __call__(self, endpoint: NodeEndpoint, ask: Ask[T]) -> T:
        """Return the endpoint's answer. Raises as the endpoint fails."""


class Quorum:
    """Asks several endpoints at once and returns what ``size`` of them say.

    ``usable`` returns the endpoints that may be asked, and raises where there is none.
    """

    def __init__(
        self,
        size: int,
        *,
        ask: AskOne,
        usable: Callable[[], list[NodeEndpoint]],
        listener: Listener,
        clock: Callable[[], float],
    ) -> None:
        self.size = size
        self._ask = ask
        self._usable = usable
        self._listener = listener
        self._clock = clock

    def agree_on_head(
        self, fetch_headers: Callable[[Sequence[int]], list[Header | None]]
    ) -> Header:
        """Return the newest block that a quorum has, by hash.

        ``fetch_headers`` is asked for the agreed block of a height where no hash has a quorum.
        """
        asked = self._submit(lambda reader: reader.fetch_head())
        heads = self._collect(asked, enough=self._has_agreement)
        votes: dict[str, list[NodeEndpoint]] = {}
        by_hash: dict[str, Header] = {}
        for endpoint, head in heads.items():
            endpoint.head_seen = head.number
            votes.setdefault(head.block_hash, []).append(endpoint)
            by_hash[head.block_hash] = head
        agreed = [by_hash[one] for one, names in votes.items() if len(names) >= self.size]
        if agreed:
            head = max(agreed, key=lambda one: one.number)
            for future, endpoint in asked.items():
                future.add_done_callback(partial(self._judge_head, endpoint, head))
            return head
        numbers = sorted((head.number for head in heads.values()), reverse=True)
        if len(numbers) < self.size:
            raise self._no_quorum(f"{len(numbers)} of {self.size} heads")
        # The newest height that so many have reached; they may still disagree about its block.
        [header] = fetch_headers([numbers[self.size - 1]])
        if header is None:
            raise self._no_quorum(f"nobody has block {numbers[self.size - 1]} any more")
        return header

    def _judge_head(self, endpoint: NodeEndpoint, agreed: Header, future: "Future[Header]") -> None:
        if future.cancelled() or future.exception() is not None:
            return
        shown = future.result()
        endpoint.head_seen = shown.number
        if shown.number == agreed.number and shown.block_hash != agreed.block_hash:
            self._strike(endpoint, f"block {agreed.number}, which a quorum agrees on")

    def _has_agreement(self, heads: Mapping[NodeEndpoint, Header]) -> bool:
        hashes = [head.block_hash for head in heads.values()]
        return any(hashes.count(one) >= self.size for one in hashes)

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
            if len(answers) >= self.size:
                deadline_s = min(deadline_s, time.monotonic() + STRAGGLER_WAIT_S)
        return answers

    def agree(self, ask: Ask[T], key: Callable[[T], Hashable]) -> T:
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
                if voters[vote] >= self.size:
                    for other, endpoint in asked.items():
                        other.add_done_callback(self._judge(endpoint, key, vote))
                    return value
        for error in errors:
            if isinstance(error, (RangeRefused, BodyTooLarge, MethodMissing)):
                raise error
        raise self._no_quorum(f"{max(voters.values(), default=0)} of {self.size} agree")

    def _submit(self, ask: Ask[T]) -> dict["Future[T]", NodeEndpoint]:
        now_s = self._clock()
        usable = self._usable()
        moving = [one for one in usable if not one.is_stuck(now_s=now_s)]
        if len(moving) < self.size:
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
        rest_s = endpoint.strike(now_s=self._clock())
        if rest_s is not None:
            self._listener(endpoint.name, NodeFailure.OUTVOTED, f"set aside for {rest_s:.0f} s")

    def _no_quorum(self, detail: str) -> NotYet:
        self._listener("all", NodeFailure.NO_QUORUM, detail)
        return NotYet(f"no quorum: {detail}", failure=NodeFailure.NO_QUORUM)
