"""The account's algebra, proved for all values by Z3 from the contract's own source.

Tested elsewhere by example and by random play; here every amount, time, day, epoch and cap at once.
``sound`` is the invariant of a stored account. Each function that changes an account is shown to
keep it, at any time of the call and at any later time, to revert for no arithmetic reason, and to
write no field that is wider than its place. Then the rules one by one: P2, P3, P4, holds,
settlements, lapse.

::

    any function
    ├── never reverts by arithmetic
    ├── every packed field fits its place
    └── keeps the account sound, now and later (P2, P4)
    hold
    ├── grants what was asked, or the most that the rules allow: a live hold is a promise
    ├── promises today no more than the cap, or what was promised already (P3)
    └── expired or too long: reverts
    settle ── takes its cost out of the hold, and nothing else
    withdraw ── leaves exactly the live hold
    midnight ── opens with the unspent credit, and cuts no promise
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import pytest
import z3

from scripts.stack.anvil_path import ROOT
from tests.support.vyper_symbolic import ARITHMETIC, Interpreter, Outcome, State, Word

MAX_AMOUNT: Final = 2**63 - 1
MAX_BPS: Final = 10_000
DAY_S: Final = 86_400
HOLD_S_MAX: Final = 25 * 3_600
LAST_S: Final = 2**40 - 1 - HOLD_S_MAX
"""Times up to the year 36,800: beyond it an expiry would not fit its 40 bits."""

HOT: Final = {
    "spent": 0,
    "held": 64,
    "holdExpiresAt": 128,
    "day": 168,
    "keyEpoch": 192,
    "modelTier": 224,
    "dailySmoothingBps": 232,
}
COLD: Final = {"credited": 0, "withdrawn": 64, "dayBase": 128, "spentAtDayStart": 192}
DEED: Final = {"owner": 0, "minted modelTier": 160, "minted dailySmoothingBps": 168}
TOTALS: Final = {"liabilities": 0, "owed": 96, "supply": 192}
MODULES: Final = {"position": "YieldFundedPosition.vy", "account": "account.vy"}


@dataclass(frozen=True)
class Account:
    """A stored account at a time, as its reader counts it. Amounts in 1e-6 USDC."""

    spent: Any
    held: Any
    expires_s: Any
    day: Any
    epoch: Any
    tier: Any
    bps: Any
    credited: Any
    withdrawn: Any
    day_base: Any
    spent_at_day_start: Any
    now_s: Any

    @property
    def live(self) -> Any:
        return z3.If(self.expires_s > self.now_s, self.held, 0)

    @property
    def unspent(self) -> Any:
        return self.credited - self.spent - self.withdrawn

    @property
    def is_open(self) -> Any:
        return self.day == self.now_s / DAY_S

    @property
    def base_today(self) -> Any:
        return z3.If(self.is_open, self.day_base, self.unspent)

    @property
    def spent_today(self) -> Any:
        return z3.If(self.is_open, self.spent - self.spent_at_day_start, 0)

    @property
    def sound(self) -> Any:
        """What holds of every stored account at every time."""
        return z3.And(
            self.spent >= 0,
            self.withdrawn >= 0,
            self.held >= 0,
            self.credited <= MAX_AMOUNT,
            self.live <= self.unspent,  # P2
            self.unspent >= 0,
            self.held <= MAX_AMOUNT,
            self.expires_s >= 0,
            self.expires_s < 2**40,
            self.day >= 0,
            self.day <= self.now_s / DAY_S,
            self.epoch >= 0,
            self.bps >= 1,
            self.bps <= MAX_BPS,
            self.day_base >= 0,
            self.day_base <= self.credited,
            self.spent_at_day_start >= 0,
            self.spent_at_day_start <= self.spent,
        )


def read_account(storage: Any, now_s: Any) -> Account:
    """Read the account as it counts: before the first touch tier and smoothing are the deed's."""
    hot, cold = storage["_hot"].fields, storage["_cold"].fields
    deed = storage["_deeds"].fields
    is_untouched = hot[HOT["dailySmoothingBps"]] == 0
    return Account(
        spent=hot[HOT["spent"]],
        held=hot[HOT["held"]],
        expires_s=hot[HOT["holdExpiresAt"]],
        day=hot[HOT["day"]],
        epoch=hot[HOT["keyEpoch"]],
        tier=z3.If(is_untouched, deed[DEED["minted modelTier"]], hot[HOT["modelTier"]]),
        bps=z3.If(
            is_untouched, deed[DEED["minted dailySmoothingBps"]], hot[HOT["dailySmoothingBps"]]
        ),
        credited=cold[COLD["credited"]],
        withdrawn=cold[COLD["withdrawn"]],
        day_base=cold[COLD["dayBase"]],
        spent_at_day_start=cold[COLD["spentAtDayStart"]],
        now_s=now_s,
    )


NOW_S: Final = z3.Int("now")
LATER_S: Final = z3.Int("later")
AMOUNT: Final = z3.Int("amount")
EXPIRES_S: Final = z3.Int("expiresAt")
EPOCH: Final = z3.Int("keyEpoch asked")
CARRIED: Final = z3.Int("what the day has to honour anyway")
STORAGE: Final = {
    "_hot": Word({place: z3.Int(name) for name, place in HOT.items()}),
    "_cold": Word({place: z3.Int(name) for name, place in COLD.items()}),
    "_totals": Word({place: z3.Int(name) for name, place in TOTALS.items()}),
    "_deeds": Word({place: z3.Int(name) for name, place in DEED.items()}),
    "timestamp": NOW_S,
    "sender": z3.Int("sender"),
}
BEFORE: Final = read_account(STORAGE, NOW_S)
STORED_TIER: Final = z3.Int("modelTier")
STORED_BPS: Final = z3.Int("dailySmoothingBps")
WORLD: Final = z3.And(
    BEFORE.sound,
    NOW_S >= 0,
    NOW_S <= LAST_S,
    LATER_S >= NOW_S,
    AMOUNT >= 0,
    EXPIRES_S >= 0,
    EPOCH >= 0,
    BEFORE.tier >= 0,
    BEFORE.tier < 256,
    STORED_TIER >= 0,
    STORED_TIER < 256,
    STORED_BPS >= 0,
    z3.Int("owner") > 0,
    z3.Int("owner") < 2**160,
    z3.Int("minted modelTier") >= 0,
    z3.Int("minted dailySmoothingBps") > 0,
    BEFORE.epoch < 2**32 - 1,  # a transaction of one owner each
    # The totals are sums over accounts; USDC that was ever minted fits 2**95.
    z3.Int("liabilities") >= BEFORE.unspent + z3.Int("owed"),
    z3.Int("liabilities") < 2**95,
    z3.Int("owed") >= 0,
    z3.Int("supply") >= 0,
    z3.Int("supply") < 2**64 - 1,
)

REQUEST: Final = {
    "request": {
        "tokenId": z3.Int("tokenId"),
        "amount": AMOUNT,
        "expiresAt": EXPIRES_S,
        "keyEpoch": EPOCH,
    }
}
ITEM: Final = {"batchId": z3.Int("batchId"), "item": {"tokenId": z3.Int("tokenId"), "cost": AMOUNT}}
CALLS: Final[dict[str, Any]] = {
    "_place_hold": REQUEST,
    "_consume_hold": ITEM,
    "creditYield": {"tokenId": z3.Int("tokenId"), "amount": AMOUNT},
    "creditFor": {"tokenId": z3.Int("tokenId"), "amount": AMOUNT},
    "withdrawUnspentYield": {"tokenId": z3.Int("tokenId")},
    "bumpKeyEpoch": {"tokenId": z3.Int("tokenId")},
}


@cache
def interpret() -> Interpreter:
    return Interpreter(ROOT / "contracts", MODULES, main="position")


@cache
def run(function: str) -> tuple[Outcome, ...]:
    outcomes = interpret().call(function, CALLS[function], State(storage=STORAGE))
    return tuple(outcome for outcome in outcomes if not is_impossible(outcome))


def is_impossible(outcome: Outcome) -> bool:
    solver = make_solver()
    solver.add(WORLD, *outcome.state.condition)
    return bool(solver.check() == z3.unsat)


def make_solver() -> z3.Solver:
    solver = z3.Solver()
    solver.set("timeout", 120_000)
    return solver


def prove(claim: Any, *facts: Any) -> None:
    """Fail with a counterexample where the claim does not follow from the world and the facts."""
    solver = make_solver()
    solver.add(WORLD, *facts, z3.Not(claim))
    result = solver.check()
    assert result == z3.unsat, f"{result}: {solver.model() if result == z3.sat else 'undecided'}"


def successes(function: str) -> Iterator[tuple[Outcome, Account]]:
    found = [outcome for outcome in run(function) if outcome.reverted is None]
    assert found, f"{function} never succeeds: nothing was proved"
    for outcome in found:
        yield outcome, read_account(outcome.state.storage, NOW_S)


def at(account: Account, now_s: Any) -> Account:
    return Account(**{**account.__dict__, "now_s": now_s})


def compute_cap(account: Account) -> tuple[Any, tuple[Any, ...]]:
    """Return the day's formula cap by the source's own function, and what is known of it."""
    arguments = {"dayBase": account.base_today, "dailySmoothingBps": account.bps}
    ends = interpret().call("account._formula_cap", arguments, State())
    (end,) = (end for end in ends if end.reverted is None)
    return end.value, end.state.condition


@pytest.mark.parametrize("function", CALLS)
def test_any_function__any_values__never_reverts_by_arithmetic(function: str) -> None:
    assert [o for o in run(function) if o.reverted == ARITHMETIC] == []


@pytest.mark.parametrize("function", CALLS)
def test_any_function__any_values__packs_no_field_wider_than_its_place(function: str) -> None:
    for outcome in run(function):
        for what, claim in outcome.state.obligations:
            try:
                prove(claim, *outcome.state.condition)
            except AssertionError as error:
                raise AssertionError(f"{function}: {what}: {error}") from None


@pytest.mark.parametrize("function", CALLS)
def test_any_function__sound_account__stays_sound_now_and_later(function: str) -> None:
    for outcome, after in successes(function):
        prove(after.sound, *outcome.state.condition)
        prove(at(after, LATER_S).sound, *outcome.state.condition)


@pytest.mark.parametrize("function", CALLS)
def test_any_function__p4__nothing_that_only_grows_shrinks(function: str) -> None:
    for outcome, after in successes(function):
        grown = z3.And(
            after.credited >= BEFORE.credited,
            after.spent >= BEFORE.spent,
            after.withdrawn >= BEFORE.withdrawn,
            after.epoch >= BEFORE.epoch,
            after.tier == BEFORE.tier,
            after.bps == BEFORE.bps,
        )
        prove(grown, *outcome.state.condition)


@pytest.mark.parametrize("function", CALLS)
def test_any_function__p3__today_promises_no_more_than_the_cap_or_what_was_promised(
    function: str,
) -> None:
    """``CARRIED`` is what a hold from before midnight had promised when the day opened."""
    cap_before, facts_before = compute_cap(BEFORE)
    bounded = z3.Or(
        BEFORE.spent_today + BEFORE.live <= cap_before, BEFORE.spent_today + BEFORE.live <= CARRIED
    )
    for outcome, after in successes(function):
        cap, facts = compute_cap(after)
        claim = z3.Or(
            after.spent_today + after.live <= cap, after.spent_today + after.live <= CARRIED
        )
        prove(claim, bounded, *facts_before, *facts, *outcome.state.condition)


def test_account__time_passes_within_a_day__p2_and_p3_hold_by_themselves() -> None:
    later = at(BEFORE, LATER_S)
    prove(z3.And(later.sound, later.live <= BEFORE.live))


def test_account__midnight__opens_with_the_unspent_credit_and_cuts_no_promise() -> None:
    later = at(BEFORE, LATER_S)
    crossed = BEFORE.day < LATER_S / DAY_S
    prove(z3.And(later.base_today == BEFORE.unspent, later.spent_today == 0), crossed)
    prove(later.live == BEFORE.held, crossed, BEFORE.expires_s > LATER_S)


def test_hold__any_request__grants_by_the_rule() -> None:
    """With the current epoch what is asked, up to what is held or can be; else never more than is
    held, for no longer: a live hold is a promise (ADR 4), which no midnight cuts (ADR 2)."""
    cap, facts = compute_cap(BEFORE)
    left = z3.If(cap > BEFORE.spent_today, cap - BEFORE.spent_today, 0)
    grantable = smaller(BEFORE.unspent, left)
    is_current = BEFORE.epoch == EPOCH
    most = z3.If(is_current, larger(BEFORE.live, grantable), BEFORE.live)
    granted = smaller(AMOUNT, most)
    longest_s = z3.If(BEFORE.live > 0, BEFORE.expires_s, 0)
    expires_s = z3.If(is_current, EXPIRES_S, smaller(EXPIRES_S, longest_s))
    for outcome, after in successes("_place_hold"):
        claim = z3.And(after.held == granted, after.expires_s == z3.If(granted == 0, 0, expires_s))
        prove(claim, *facts, *outcome.state.condition)


def smaller(a: Any, b: Any) -> Any:
    return z3.If(a <= b, a, b)


def larger(a: Any, b: Any) -> Any:
    return z3.If(a >= b, a, b)


def test_settle__any_cost__leaves_the_hold_and_becomes_spent() -> None:
    for outcome, after in successes("_consume_hold"):
        moved = z3.And(
            BEFORE.live >= AMOUNT,
            after.spent == BEFORE.spent + AMOUNT,
            z3.Implies(BEFORE.live > AMOUNT, after.live == BEFORE.live - AMOUNT),
            after.credited == BEFORE.credited,
            after.withdrawn == BEFORE.withdrawn,
        )
        prove(moved, *outcome.state.condition)


def test_settle__cost_within_the_live_hold__is_never_refused() -> None:
    for outcome in run("_consume_hold"):
        if outcome.reverted is not None:
            prove(BEFORE.live < AMOUNT, *outcome.state.condition)


def test_withdraw__anything_unspent__leaves_exactly_the_live_hold() -> None:
    for outcome, after in successes("withdrawUnspentYield"):
        prove(
            z3.And(after.unspent == BEFORE.live, after.live == BEFORE.live),
            *outcome.state.condition,
        )


def test_bump__live_hold__stays_as_it_is() -> None:
    for outcome, after in successes("bumpKeyEpoch"):
        same = z3.And(after.live == BEFORE.live, after.expires_s == BEFORE.expires_s)
        prove(z3.And(same, after.epoch == BEFORE.epoch + 1), *outcome.state.condition)


def test_open_day__first_touch__opens_with_the_unspent_credit_once() -> None:
    hot = {name: STORAGE["_hot"].fields[place] for name, place in HOT.items()}
    arguments = {"hot": hot, "word": STORAGE["_cold"]}
    ends = interpret().call("account._cold_today", arguments, State(storage=STORAGE))
    for end in (end for end in ends if end.reverted is None):
        opened = z3.And(
            end.value["dayBase"] == z3.If(BEFORE.is_open, BEFORE.day_base, BEFORE.unspent),
            end.value["spentAtDayStart"]
            == z3.If(BEFORE.is_open, BEFORE.spent_at_day_start, BEFORE.spent),
        )
        prove(opened, *end.state.condition)
