"""``ReentryMachine``: a hostile vault that can be steered, and what it plans to do when entered.

A plan is foreseen call by call: behind the adapter's lock nothing of the adapter answers, and
everywhere else the vault is nobody special.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from scripts.stack.anvil_path import ROOT
from tests.property.contracts.hold import tokens
from tests.property.contracts.model import (
    ADAPTER,
    LEAST_GIFT,
    POSITION,
    TREASURY,
    Refused,
)
from tests.property.contracts.saving import SavingMachine
from tests.property.contracts.stage import (
    ATTACKER,
    HOSTILE,
    ONE_SHARE,
    OWNERS,
    HostileStage,
    HostileVault,
    View,
)

_SOURCE: Final = ROOT / "contracts" / "mocks" / "HostileVault.vy"
KINDS: Final = tuple(re.findall(r"^    ([A-Z_]+)  # ", _SOURCE.read_text(), re.MULTILINE))
MOST_PRICE: Final = 2**255
MOST_CALLS: Final = 12
OWN_POSITION: Final = 5
OWN_HONEST_POSITION: Final = 7

kinds = st.one_of(
    st.lists(st.sampled_from(KINDS), min_size=1, max_size=2),
    st.sampled_from(KINDS).map(lambda name: ["REENTERS", name]),
)
sums = st.one_of(st.sampled_from([1, 2, 9_999, 10**6, 10**9]), st.integers(1, 10**9))
prices = st.sampled_from(
    [(9, 10), (999, 1_000), (1_001, 1_000), (11, 10), (2, 1), (1, 2), (10**3, 1), (1, 10**3)]
)


def flag(*names: str) -> int:
    """Return misbehaviours as the vault takes them."""
    return sum(1 << KINDS.index(name) for name in set(names))


@dataclass(frozen=True)
class Reentry:
    """One call of the hostile vault's plan; ``expect`` foresees it where nothing is locked."""

    contract: str
    function: str
    given: tuple[Any, ...]
    expect: Callable[[int], None]


def refuse(_: int) -> None:
    """Foresee that a call is refused, whenever it comes."""
    raise Refused("not for a vault")


class ReentryMachine(SavingMachine):
    """A hostile vault with its levers, its gifts and its plans for a re-entry."""

    stage_type = HostileStage

    def __init__(self) -> None:
        super().__init__()
        vault = self.model.stakes[OWN_POSITION].vault
        assert isinstance(vault, HostileVault)
        self.vault = vault
        self.plan: list[Reentry] = []
        # Once it lied about balances, or burned what it keeps for all, its shares prove nothing.
        self.doubted = False

    # --------------------------------------------------------------------------------- plumbing

    def does(self, *names: str) -> bool:
        """Return whether the vault misbehaves in one of these ways now."""
        return bool(self.vault.kinds & flag(*names))

    def check_more(self, view: View) -> None:
        seen, vault = view.hostile, self.vault
        assert seen is not None
        assert seen.kinds == vault.kinds
        assert seen.price == vault.price
        assert seen.adapter_shares == vault.shares[ADAPTER]
        assert seen.reentered == vault.reentered, "what was entered is what was foreseen"
        booked = sum(stake.shares for stake in self.model.stakes if stake.vault is vault)
        assert self.doubted or booked <= seen.adapter_shares, "A1 where the vault can be believed"

    # ------------------------------------------------------------------------- calls to the vault

    def touch(self, sender: str, contract: str, function: str, *given: Any) -> View | None:
        """Make a call that reaches the vault; return what is seen after it, or None if refused."""
        self.fresh = None
        ok, landed_at = self.stage.send(sender, contract, function, *given)
        self.model.now += 1
        assert landed_at == self.model.now
        return self.stage.look(self.model) if ok else None

    def measure(self, view: View, *parties: str) -> None:
        """Take what cannot be foreseen of the vault and ``parties`` as it is.

        Nothing is hidden by it: the sum of all balances is compared with what exists.
        """
        assert view.hostile is not None
        for name in (HOSTILE, *parties):
            self.model.usdc.balances[name] = view.balances[name]
        self.vault.price = view.hostile.price
        self.vault.shares[ADAPTER] = view.hostile.adapter_shares
        self.vault.attacker_shares = view.hostile.attacker_shares

    def reenter(self, at: int) -> int:
        """Foresee the plan within a call of the adapter; return what came to the adapter by it."""
        if not self.does("REENTERS"):
            return 0
        arrived = 0
        for index, call in enumerate(self.plan):
            before = self.model.usdc.balance(ADAPTER)
            try:
                call.expect(at)
            except Refused:
                continue
            self.vault.reentered |= 1 << index
            arrived += self.model.usdc.balance(ADAPTER) - before
        return arrived

    def swallow(self, arrived: int) -> None:
        """What reaches the adapter while it measures is part of what is measured."""
        self.model.usdc.mint(ADAPTER, -arrived)

    # --------------------------------------------------------------------------------- its levers

    @rule(names=kinds)
    def misbehave(self, names: list[str]) -> None:
        self.set_kinds(flag(*names))

    @rule()
    def behave(self) -> None:
        self.set_kinds(0)

    def set_kinds(self, wanted: int) -> None:
        def expect(_: int) -> None:
            self._set_kinds(wanted)

        self.call(expect, ATTACKER, HOSTILE, "misbehave", wanted)

    def _set_kinds(self, wanted: int) -> None:
        self.vault.kinds = wanted

    @rule(ratio=prices)
    def move_price(self, ratio: tuple[int, int]) -> None:
        self.set_price(self.vault.price * ratio[0] // ratio[1])

    @rule(price=st.sampled_from([ONE_SHARE, ONE_SHARE, ONE_SHARE * 11 // 10, 0, 1, 2**200]))
    def put_price(self, price: int) -> None:
        self.set_price(price)

    def set_price(self, price: int) -> None:
        wanted = min(price, MOST_PRICE)

        def expect(_: int) -> None:
            self.vault.price = wanted

        self.call(expect, ATTACKER, HOSTILE, "setPrice", wanted)

    # --------------------------------------------------------------------------------- its gifts

    @rule(to=st.sampled_from([ADAPTER, POSITION, TREASURY]), amount=sums)
    def donate(self, to: str, amount: int) -> None:
        def expect(_: int) -> None:
            self.give(to, amount)
            if to == ADAPTER:
                self.model.donated_to_adapter += amount

        self.call(expect, ATTACKER, "usdc", "faucet", to, amount)

    def give(self, to: str, amount: int) -> None:
        self.model.usdc.mint(to, amount)

    @rule(assets=sums)
    def donate_shares(self, assets: int) -> None:
        """Give the adapter shares of an honest vault that belong to no position."""
        self.call(
            lambda at: self.give_shares(ATTACKER, assets, at),
            ATTACKER,
            "vault0",
            "deposit",
            assets,
            ADAPTER,
        )

    def give_shares(self, giver: str, assets: int, at: int) -> None:
        vault, usdc = self.model.vaults[0], self.model.usdc
        if assets > usdc.balance(giver):
            raise Refused("balance")
        shares = vault.preview_deposit(assets, at)
        vault.accrue(at)
        usdc.move(giver, vault.name, assets)
        vault.shares[ADAPTER] += shares

    # ------------------------------------------------------------------------------------ re-entry

    @precondition(lambda self: len(self.plan) < MOST_CALLS)
    @rule(drawn=tokens, amount=sums, own=st.sampled_from([OWN_POSITION, OWN_HONEST_POSITION]))
    def plan_adapter_call(self, drawn: int, amount: int, own: int) -> None:
        """Plan to enter the adapter, which is locked: for itself, or for anybody's harvest."""
        calls: list[tuple[str, tuple[Any, ...]]] = [
            ("harvest", (self.token(drawn),)),
            ("withdrawPrincipal", (own, amount, 0)),
            ("exitInKind", (own,)),
            ("deposit", (own, amount, 0)),
            ("depositFor", (self.token(drawn), amount, 0)),
            ("openFor", (ATTACKER, 1, 10_000, HOSTILE, 60, amount, 0)),
            ("open", (1, 10_000, HOSTILE, 60, amount, 0)),
            ("setHarvestInterval", (own, 31)),
            ("pendingYield", (OWN_HONEST_POSITION,)),
            ("positionOf", (self.token(drawn),)),
        ]
        function, given = calls[drawn % len(calls)]
        self.add_to_plan(Reentry(ADAPTER, function, given, refuse))

    @precondition(lambda self: len(self.plan) < MOST_CALLS)
    @rule(
        which=st.integers(0, 8),
        drawn=tokens,
        own=st.sampled_from([OWN_POSITION, OWN_HONEST_POSITION]),
    )
    def plan_position_call(self, which: int, drawn: int, own: int) -> None:
        """Plan to enter the position contract or the treasury, as an owner or as anybody."""
        model, token_id = self.model, self.token(drawn)
        calls: list[tuple[str, str, tuple[Any, ...], Callable[[int], None]]] = [
            (
                POSITION,
                "withdrawUnspentYield",
                (own,),
                lambda at: model.withdraw_unspent(HOSTILE, own, at=at),
            ),
            (
                POSITION,
                "withdrawUnspentYield",
                (token_id,),
                lambda at: model.withdraw_unspent(HOSTILE, token_id, at=at),
            ),
            (
                POSITION,
                "bumpKeyEpoch",
                (own,),
                lambda _: model.bump_key_epoch(HOSTILE, own),
            ),
            (
                POSITION,
                "creditFor",
                (token_id, LEAST_GIFT),
                lambda at: model.give_credit(HOSTILE, token_id, LEAST_GIFT, at=at),
            ),
            (POSITION, "sweep", (), lambda _: model.sweep()),
            (POSITION, "creditYield", (token_id, 1), refuse),
            (POSITION, "mint", (HOSTILE, 1, 10_000), refuse),
            (POSITION, "setSettler", (HOSTILE, True), refuse),
            (TREASURY, "claim", (HOSTILE,), lambda _: model.claim(HOSTILE, HOSTILE)),
        ]
        self.add_to_plan(Reentry(*calls[which]))

    @precondition(lambda self: len(self.plan) < MOST_CALLS)
    @rule(
        which=st.integers(0, 5),
        amount=sums,
        to=st.sampled_from([ADAPTER, POSITION, TREASURY, *OWNERS]),
    )
    def plan_payment(self, which: int, amount: int, to: str) -> None:
        """Plan to give, to take, and to move honest vaults in the middle of an operation."""
        vault = self.model.vaults[1]

        def push(at: int) -> None:
            vault.accrue(at)
            self.give(vault.name, amount)

        calls: list[tuple[str, str, tuple[Any, ...], Callable[[int], None]]] = [
            ("usdc", "faucet", (ADAPTER, amount), lambda _: self.give(ADAPTER, amount)),
            ("usdc", "faucet", (to, amount), lambda _: self.give(to, amount)),
            ("usdc", "transferFrom", (to, HOSTILE, amount), refuse),
            ("vault1", "push", (amount,), push),
            (
                "vault0",
                "deposit",
                (amount, ADAPTER),
                lambda at: self.give_shares(HOSTILE, amount, at),
            ),
            ("vault0", "redeem", (amount, HOSTILE, ADAPTER), refuse),
        ]
        self.add_to_plan(Reentry(*calls[which]))

    @precondition(lambda self: len(self.plan) < MOST_CALLS)
    @rule(names=kinds, price=st.one_of(st.none(), st.sampled_from([ONE_SHARE, 100 * ONE_SHARE])))
    def plan_a_turn(self, names: list[str], price: int | None) -> None:
        """Plan to misbehave in another way, or at another price, from the middle on."""
        if price is None:
            wanted = flag(*names)
            turn = Reentry(HOSTILE, "misbehave", (wanted,), lambda _: self._set_kinds(wanted))
        else:
            # The price after the call is measured.
            turn = Reentry(HOSTILE, "setPrice", (price,), lambda _: None)
        self.add_to_plan(turn)

    def add_to_plan(self, call: Reentry) -> None:
        target = self.stage.address[call.contract]
        data = bytes.fromhex(self.stage.encode(call.contract, call.function, *call.given)[2:])
        # Before the call, whose figures are compared right after it.
        self.plan.append(call)
        self.call(lambda _: None, ATTACKER, HOSTILE, "reenter", target, data)
