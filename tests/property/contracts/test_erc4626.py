"""MockVault keeps the promises of ERC-4626, whatever has happened to it.

Other tests rely on it: a vault more generous than the standard would prove nothing about real ones.
Each property below holds in every scene: a vault with a history (``erc4626.HISTORIES``), some time
later, after deposits, gifts and losses, with fees and a limit to its liquidity.
``CONTRACT_EXAMPLES`` sets how many scenes the long profile plays.

    views        asset, totalAssets, convertTo and max never revert and ask not who is asking
    entering     deposit >= previewDeposit shares, mint <= previewMint assets
    leaving      withdraw <= previewWithdraw shares, redeem >= previewRedeem assets
    rounding     previews and conversions lie in one order; no call lowers the price for others
    limits       what max says is accepted, more is not
    allowances   somebody else leaves with shares only as far as their owner allowed
    round trips  nobody gains by going there and back
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.property.contracts.erc4626 import (
    EVERYTHING,
    HISTORIES,
    MOST_USDC,
    START_S,
    Answer,
    Call,
    Scene,
    VaultStage,
)
from tests.support.anvil import Anvil

DAY: Final = 86_400
BPS: Final = 10_000
A_GREAT_MANY_SHARES: Final = 10**24

Amount: TypeAlias = int | str
Property: TypeAlias = Callable[[Scene, Amount, Amount], None]

amounts: st.SearchStrategy[Amount] = st.one_of(
    st.sampled_from([0, 1, "all", "all but one", "half"]),
    st.integers(0, 100),
    st.integers(0, 10**13),
    st.integers(0, MOST_USDC),
)
fee = st.sampled_from([0, 1, 10, 50, 3_333, BPS - 1])
fees = st.one_of(st.just((0, 0)), st.tuples(fee, fee))
limits = st.one_of(
    st.just(EVERYTHING), st.just(EVERYTHING), st.sampled_from([0, 1]), st.integers(0, 10**12)
)
happenings = st.one_of(
    st.builds(lambda n: Call("neighbour", "push", (n,)), st.integers(0, 10**13)),
    st.builds(lambda n: Call("neighbour", "faucet", ("vault", n), "usdc"), st.integers(0, 10**13)),
    st.builds(lambda n: Call("neighbour", "realiseLoss", (n,)), st.integers(0, 10**12)),
    st.builds(lambda n: Call("neighbour", "deposit", (n, "neighbour")), st.integers(0, 10**13)),
    st.builds(lambda n: Call("holder", "deposit", (n, "holder")), st.integers(0, 10**13)),
)


@st.composite
def scenes(draw: st.DrawFn, stage: VaultStage) -> Scene:
    """Draw a vault and what has just happened to it. Without a happening, interest is still due."""
    opening = draw(st.lists(happenings, max_size=3))
    opening.append(Call("neighbour", "setFees", draw(fees)))
    opening.append(Call("neighbour", "setLiquidity", (draw(limits),)))
    wait_s = draw(st.sampled_from([0, 1, 60, DAY, 365 * DAY, 3_650 * DAY]))
    return Scene(stage, draw(st.sampled_from(sorted(HISTORIES))), wait_s, tuple(opening))


def resolve(amount: Amount, most: int) -> int:
    """Return an amount of at most ``most``."""
    if isinstance(amount, int):
        return min(amount, most)
    return {"all": most, "all but one": max(0, most - 1), "half": most // 2}[amount]


# --------------------------------------------------------------------------------- the four verbs


@dataclass(frozen=True, slots=True)
class Verb:
    """One of the four calls that move money: what it is given and what it answers."""

    name: str
    gives: str  # "assets" or "shares": the unit of its argument; it answers the other
    enters: bool

    @property
    def preview(self) -> str:
        return "preview" + self.name.capitalize()

    @property
    def maximum(self) -> str:
        return "max" + self.name.capitalize()

    def call(self, amount: int, *, who: str = "holder", receiver: str = "holder") -> Call:
        """Return the call, of the holder's money."""
        parties = (receiver,) if self.enters else (receiver, "holder")
        return Call(who, self.name, (amount, *parties))

    def as_assets_and_shares(self, given: int, answered: int) -> tuple[int, int]:
        return (given, answered) if self.gives == "assets" else (answered, given)


DEPOSIT: Final = Verb("deposit", "assets", True)
MINT: Final = Verb("mint", "shares", True)
WITHDRAW: Final = Verb("withdraw", "assets", False)
REDEEM: Final = Verb("redeem", "shares", False)
VERBS: Final = (DEPOSIT, MINT, WITHDRAW, REDEEM)


def most_of(scene: Scene, verb: Verb) -> int:
    """Return the most the holder can call a verb with, by the vault's limit and their money."""
    limit = scene.read(verb.maximum, "holder")
    if not verb.enters:
        return limit
    funds = min(scene.read("balanceOf", "holder", target="usdc"), MOST_USDC)
    return min(limit, funds if verb is DEPOSIT else scene.read("previewDeposit", funds))


# ---------------------------------------------------------------------------------- the properties


def views_answer_everybody_alike(scene: Scene, amount: Amount, other: Amount) -> None:
    assets, shares = resolve(amount, MOST_USDC), resolve(other, MOST_USDC)
    asked: list[tuple[str, tuple[str | int, ...]]] = [
        ("asset", ()),
        ("totalAssets", ()),
        ("convertToShares", (assets,)),
        ("convertToAssets", (shares,)),
    ]
    for person in ("holder", "receiver"):
        asked += [(verb.maximum, (person,)) for verb in VERBS]
    said = [
        scene.play(*(Call(who, view, arguments) for view, arguments in asked))
        for who in ("holder", "spender")
    ]
    assert said[0] == said[1]
    assert all(answer.ok for answer in said[0])
    assert said[0][0].word == scene.stage.address["usdc"]


def entering_and_leaving_keep_to_the_preview(scene: Scene, amount: Amount, _: Amount) -> None:
    for verb in VERBS:
        given = resolve(amount, most_of(scene, verb))
        preview, *answers = scene.play(
            Call("spender", verb.preview, (given,)),
            *LOOK,
            verb.call(given, receiver="receiver"),
            *LOOK,
        )
        before, done, after = answers[: len(LOOK)], answers[len(LOOK)], answers[len(LOOK) + 1 :]
        assert preview.ok
        assert done.ok, f"{verb.name}({given})"
        if verb in (DEPOSIT, REDEEM):
            assert done.word >= preview.word, verb.name
        else:
            assert done.word <= preview.word, verb.name
        check_moved(verb, given, done, View.of(before), View.of(after))


def previews_and_conversions_round_against_the_caller(
    scene: Scene, amount: Amount, other: Amount
) -> None:
    assets, shares = resolve(amount, MOST_USDC), resolve(other, MOST_USDC)
    asked = (
        *(Call("holder", view, (assets,)) for view in PER_ASSETS),
        *(Call("holder", view, (shares,)) for view in PER_SHARES),
    )
    said = [answer.word for answer in scene.play(*asked)]
    assert said[0] <= said[1] <= said[2], PER_ASSETS
    assert said[3] <= said[4] <= said[5], PER_SHARES

    _, *answers = scene.play(Call("neighbour", "setFees", (0, 0)), *asked)
    free = [answer.word for answer in answers]
    assert free[0] == free[1] == said[1], "a conversion knows no fee"
    assert free[3] == free[4] == said[4], "a conversion knows no fee"
    assert free[2] - free[0] <= 1
    assert free[5] - free[3] <= 1
    assert scene.read("convertToAssets", free[1]) <= assets
    assert scene.read("convertToShares", free[4]) <= shares


def limits_are_what_is_accepted(scene: Scene, _: Amount, __: Amount) -> None:
    usdc = scene.read("balanceOf", "holder", target="usdc")
    owned = scene.read("balanceOf", "holder")
    assert scene.read("maxDeposit", "holder") == scene.read("maxMint", "holder") == EVERYTHING
    most_assets = scene.read("maxWithdraw", "holder")
    most_shares = scene.read("maxRedeem", "holder")
    assert most_shares <= owned
    affordable = scene.read("previewDeposit", usdc)
    for verb, most in (
        (DEPOSIT, usdc),
        (MINT, affordable),
        (WITHDRAW, most_assets),
        (REDEEM, most_shares),
    ):
        assert accepts(scene, verb, most), f"{verb.name}({most})"
    for verb, beyond in (
        (DEPOSIT, usdc + 1),
        (MINT, affordable + 1),
        (WITHDRAW, most_assets + 1),
        (REDEEM, owned + 1),
    ):
        assert not accepts(scene, verb, beyond), f"{verb.name}({beyond})"
    assert scene.read("maxWithdraw", "receiver") == scene.read("maxRedeem", "receiver") == 0


def allowances_bound_what_others_take(scene: Scene, amount: Amount, allowed: Amount) -> None:
    for verb in (WITHDRAW, REDEEM):
        given = resolve(amount, most_of(scene, verb))
        (done,) = scene.play(verb.call(given))
        assert done.ok
        _, needed = verb.as_assets_and_shares(given, done.word)
        finite = allowed if isinstance(allowed, int) else resolve(allowed, needed)
        for allowance in (finite, EVERYTHING):
            _, taken, left = scene.play(
                Call("holder", "approve", ("spender", allowance)),
                verb.call(given, who="spender", receiver="receiver"),
                Call("receiver", "allowance", ("holder", "spender")),
            )
            assert taken.ok == (needed <= allowance), f"{verb.name}({given}) by {allowance}"
            spent = needed if taken.ok and allowance != EVERYTHING else 0
            assert left.word == allowance - spent


def round_trip(first: Verb, second: Verb) -> Property:
    """Return the property that nobody gains by two calls that undo each other."""

    def gains_nothing(scene: Scene, amount: Amount, _: Amount) -> None:
        given = resolve(amount, most_of(scene, first))
        (there,) = scene.play(first.call(given))
        assert there.ok
        assets, shares = first.as_assets_and_shares(given, there.word)
        given_back = assets if second.gives == "assets" else shares
        back = scene.play(first.call(given), second.call(given_back))[1]
        if not back.ok:
            return  # too few shares were minted, or the vault lacks liquidity
        assets_back, shares_back = second.as_assets_and_shares(given_back, back.word)
        if first.enters:
            assert assets_back <= assets
            assert shares_back >= shares
        else:
            assert assets_back >= assets
            assert shares_back <= shares

    gains_nothing.__name__ = f"{first.name}_then_{second.name}_gains_nothing"
    return gains_nothing


# ------------------------------------------------------------------------------------- their parts

PER_ASSETS: Final = ("previewDeposit", "convertToShares", "previewWithdraw")
PER_SHARES: Final = ("previewRedeem", "convertToAssets", "previewMint")
LOOK: Final = (
    Call("neighbour", "balanceOf", ("holder",), "usdc"),
    Call("neighbour", "balanceOf", ("holder",)),
    Call("neighbour", "balanceOf", ("receiver",), "usdc"),
    Call("neighbour", "balanceOf", ("receiver",)),
    Call("neighbour", "totalAssets"),
    Call("neighbour", "totalSupply"),
    Call("neighbour", "convertToAssets", (A_GREAT_MANY_SHARES,)),
)


@dataclass(frozen=True, slots=True)
class View:
    """What ``LOOK`` saw."""

    holder_usdc: int
    holder_shares: int
    receiver_usdc: int
    receiver_shares: int
    total_assets: int
    supply: int
    price: int

    @staticmethod
    def of(answers: list[Answer]) -> View:
        assert all(answer.ok for answer in answers)
        return View(*(answer.word for answer in answers))


def check_moved(verb: Verb, given: int, done: Answer, before: View, after: View) -> None:
    """What was answered is what moved, from the holder and to the receiver; others lose nothing."""
    assets, shares = verb.as_assets_and_shares(given, done.word)
    expected = (
        replace(
            before,
            holder_usdc=before.holder_usdc - assets,
            receiver_shares=before.receiver_shares + shares,
            total_assets=before.total_assets + assets,
            supply=before.supply + shares,
            price=after.price,
        )
        if verb.enters
        else replace(
            before,
            holder_shares=before.holder_shares - shares,
            receiver_usdc=before.receiver_usdc + assets,
            total_assets=before.total_assets - assets,
            supply=before.supply - shares,
            price=after.price,
        )
    )
    assert after == expected, verb.name
    assert after.price >= before.price, f"{verb.name} lowered the price"


def accepts(scene: Scene, verb: Verb, amount: int) -> bool:
    """Return whether the holder's call succeeds."""
    (answer,) = scene.play(verb.call(amount))
    return answer.ok


# ------------------------------------------------------------------------------------------- tests

PROPERTIES: Final[tuple[Property, ...]] = (
    views_answer_everybody_alike,
    entering_and_leaving_keep_to_the_preview,
    previews_and_conversions_round_against_the_caller,
    limits_are_what_is_accepted,
    allowances_bound_what_others_take,
    round_trip(DEPOSIT, REDEEM),
    round_trip(DEPOSIT, WITHDRAW),
    round_trip(MINT, WITHDRAW),
    round_trip(MINT, REDEEM),
    round_trip(REDEEM, DEPOSIT),
    round_trip(REDEEM, MINT),
    round_trip(WITHDRAW, MINT),
    round_trip(WITHDRAW, DEPOSIT),
)


@pytest.fixture(scope="module")
def stage() -> Iterator[VaultStage]:
    """Return the vaults on a chain of their own."""
    arguments = ["--block-base-fee-per-gas", "0", "--gas-price", "0"]
    with Anvil(timestamp_s=START_S, arguments=arguments) as anvil:
        stage = VaultStage(anvil)
        yield stage
        stage.close()


def check(stage: VaultStage, holds: Property, *, examples: int) -> None:
    """Look for a scene in which a property does not hold."""

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(scenes(stage), amounts, amounts)
    def in_any_scene(scene: Scene, amount: Amount, other: Amount) -> None:
        holds(scene, amount, other)

    in_any_scene()


@pytest.mark.parametrize("holds", PROPERTIES, ids=lambda holds: holds.__name__)
def test_mock_vault__any_scene__keeps_the_standard(stage: VaultStage, holds: Property) -> None:
    check(stage, holds, examples=60)


@pytest.mark.slow
@pytest.mark.parametrize("holds", PROPERTIES, ids=lambda holds: holds.__name__)
def test_mock_vault__very_many_scenes__keeps_the_standard(
    stage: VaultStage, holds: Property
) -> None:
    check(stage, holds, examples=int(os.environ.get("CONTRACT_EXAMPLES", "2000")))
