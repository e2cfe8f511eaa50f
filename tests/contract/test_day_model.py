"""Holds, settlements and days against a model that keeps a diary instead of packed words.

The model knows the specification only: it writes every movement down with its time, and derives
cap, day's spending and what may be granted from the diary. Invariants P1 to P4 are checked at every
step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import ape
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.world import DAY, HOUR, USDC, Account, World
from tests.support.examples import games

AMOUNTS = st.one_of(st.integers(0, 12 * USDC), st.integers(0, 3))
STEPS = st.one_of(
    st.tuples(st.just("credit"), st.integers(1, 8 * USDC)),
    st.tuples(st.just("hold"), AMOUNTS),
    st.tuples(st.just("settle"), AMOUNTS),
    st.tuples(st.just("withdraw"), st.just(0)),
    st.tuples(st.just("wait"), st.sampled_from([60, HOUR, 7 * HOUR, 12 * HOUR, 2 * DAY])),
)
HOLD_S = 14 * HOUR


@dataclass
class Diary:
    """One position, as the specification tells it."""

    bps: int
    credits: list[tuple[int, int]] = field(default_factory=list)
    spendings: list[tuple[int, int]] = field(default_factory=list)
    withdrawals: list[tuple[int, int]] = field(default_factory=list)
    promise: tuple[int, int] = (0, 0)

    def held(self, now: int) -> int:
        amount, until = self.promise
        return amount if now < until else 0

    def unspent(self, before: int | None = None) -> int:
        def total(entries: list[tuple[int, int]]) -> int:
            return sum(amount for at, amount in entries if before is None or at < before)

        return total(self.credits) - total(self.spendings) - total(self.withdrawals)

    def formula_cap(self, now: int) -> int:
        midnight = now - now % DAY
        credited_today = sum(amount for at, amount in self.credits if at >= midnight)
        return (self.unspent(before=midnight) + credited_today) * self.bps // 10_000

    def day_spent(self, now: int) -> int:
        return sum(amount for at, amount in self.spendings if at >= now - now % DAY)

    def grant(self, asked: int, now: int) -> int:
        room = min(self.unspent(), self.formula_cap(now) - self.day_spent(now))
        return min(asked, max(self.held(now), room))

    def account(self, now: int) -> Account:
        held = self.held(now)
        return Account(
            credited=sum(amount for _, amount in self.credits),
            spent=sum(amount for _, amount in self.spendings),
            withdrawn=sum(amount for _, amount in self.withdrawals),
            held=held,
            hold_expires_at=self.promise[1] if now < self.promise[1] else 0,
            day_cap=max(self.formula_cap(now), self.day_spent(now) + held),
            day_spent=self.day_spent(now),
            key_epoch=0,
        )


@contextmanager
def put_back() -> Iterator[None]:
    """Undo on the chain what the block does."""
    snapshot = ape.chain.snapshot()
    try:
        yield
    finally:
        ape.chain.restore(snapshot)


def do(world: World, diary: Diary, token_id: int, verb: str, amount: int) -> None:
    """Take one step on the chain and in the diary; a refusal has to be foreseen by the diary."""
    position = world.position
    if verb == "wait":
        world.wait(amount)
        return
    at = world.now + 10
    if verb == "credit":
        world.fund(position, amount)
        world.next_at(at)
        position.creditYield(token_id, amount, sender=world.as_adapter)
        diary.credits.append((at, amount))
    elif verb == "hold":
        granted = diary.grant(amount, at)
        world.next_at(at)
        position.hold([(token_id, amount, at + HOLD_S, 0)], sender=world.settler)
        diary.promise = (granted, at + HOLD_S if granted else 0)
    elif verb == "settle":
        cost = min(amount, diary.held(at))
        world.next_at(at)
        world.settle((token_id, cost))
        diary.spendings.append((at, cost))
        diary.promise = (diary.promise[0] - cost, diary.promise[1])
    elif diary.unspent() > diary.held(at):
        free = diary.unspent() - diary.held(at)
        world.next_at(at)
        position.withdrawUnspentYield(token_id, sender=world.owner)
        diary.withdrawals.append((at, free))


def check_invariants(world: World, account: Account) -> None:
    unspent = account.credited - account.spent - account.withdrawn
    owed = world.position.owed()
    assert world.balance(world.position) >= world.position.liabilities() == unspent + owed  # P1
    assert account.held <= unspent  # P2
    assert account.day_spent + account.held <= account.day_cap  # P3


@settings(
    max_examples=games(40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(bps=st.sampled_from([1, 2_500, 3_333, 10_000]), steps=st.lists(STEPS, max_size=14))
def test_account__any_steps__as_in_the_diary(
    world: World, bps: int, steps: list[tuple[str, int]]
) -> None:
    with put_back():
        token_id = world.create(bps=bps)
        diary = Diary(bps)
        before = world.account(token_id)
        for verb, amount in steps:
            do(world, diary, token_id, verb, amount)
            account = world.account(token_id)
            assert account == diary.account(world.now)
            remaining = world.position.remainingAllowance(token_id)
            unspent = account.credited - account.spent - account.withdrawn
            assert remaining == min(unspent, account.day_cap - account.day_spent)
            assert world.position.withdrawableYield(token_id) == unspent - account.held
            check_invariants(world, account)
            assert account[:3] >= before[:3]  # P4
            before = account
