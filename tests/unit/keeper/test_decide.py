"""What the keeper decides.

::

    decide_settle
    ├── nothing posted, or nothing that cost anything → None
    ├── no live hold, or one about to expire → None
    ├── release asked for → release
    ├── hold ends soon: idle → expiry; in use → only in its last minutes
    ├── posted ≥ amount → amount
    ├── oldest post ≥ max age → age
    └── else → None
    decide_hold
    ├── release asked for
    │   ├── nothing drawn → free it, also without a hold
    │   └── drawn → keep exactly what is promised
    ├── wanted
    │   ├── no hold → open (cover where something is drawn)
    │   ├── drawn above the hold → cover
    │   ├── near expiry → renew, also above what the day allows
    │   ├── little is free → top_up, unless the gain is too small
    │   └── else → None
    └── not wanted
        ├── drawn, no hold → cover what the current epoch drew
        ├── drawn, near expiry → renew
        └── else → None
"""

from dataclasses import replace

import pytest

from contracts.units import SECONDS_PER_DAY, USDC_MAX, USDC_ONE
from keeper.duties.duty import Action
from keeper.duties.harvest import HarvestItem, HarvestQuote, decide_harvest
from keeper.duties.hold import HoldItem, decide_hold
from keeper.duties.payout import PayoutDue, PayoutItem
from keeper.duties.positions import PositionFacts
from keeper.duties.registry import Rules
from keeper.duties.settle import SettleItem, decide_settle
from keeper.duties.sweep import SweepItem
from ledger.chain.positions import PositionState
from tests.support.decisions import Scene, decide
from tests.support.ledgers import NOW_S, make_state

RULES = Rules()
TARGET = RULES.hold_target_usdc
LIFETIME_S = RULES.hold_lifetime_s
CREDIT = 100 * USDC_ONE


def make_facts(state: PositionState | None = None, **changes: int | None) -> PositionFacts:
    """Return a position in use with a fresh hold of the target, nothing drawn."""
    if state is None:
        state = make_state(credited_usdc=CREDIT, hold_usdc=TARGET)
    facts = PositionFacts(state=state, drawn_usdc=0, wanted_at_s=NOW_S)
    return replace(facts, **changes)  # type: ignore[arg-type]


def make_posted(usdc: int, *, age_s: int = 0, lives_s: int = 7_200) -> PositionFacts:
    """Return a position with posted usage and a live hold."""
    state = make_state(credited_usdc=CREDIT, hold_usdc=TARGET, hold_lives_s=lives_s)
    return make_facts(
        state,
        drawn_usdc=usdc,
        drawn_current_usdc=usdc,
        posted_usdc=usdc,
        posted_since_s=NOW_S - age_s,
    )


def make_scene(*positions: PositionFacts, **changes: object) -> Scene:
    return replace(Scene(positions=positions), **changes)  # type: ignore[arg-type]


def ask_release(facts: PositionFacts) -> PositionFacts:
    return replace(facts, state=replace(facts.state, release_requested_at_s=NOW_S - 1))


def settle(facts: PositionFacts, *, now_s: int = NOW_S) -> SettleItem | None:
    return decide_settle(facts, RULES, now_s=now_s)


def hold(facts: PositionFacts, *, rules: Rules = RULES, now_s: int = NOW_S) -> HoldItem | None:
    return decide_hold(facts, rules, now_s=now_s)


def placed(item: HoldItem | None) -> tuple[int, str]:
    """Return what a hold item does: amount and reason."""
    assert item is not None
    assert item.expires_at_s == (NOW_S + LIFETIME_S if item.amount_usdc else 0)
    return item.amount_usdc, item.reason


# ----------------------------------------------------------------------------------------- settle


def test_decide_settle__nothing_posted__none() -> None:
    assert settle(make_facts()) is None


def test_decide_settle__free_usage_of_any_age__none() -> None:
    assert settle(make_posted(0, age_s=10**6)) is None


@pytest.mark.parametrize(
    ("posted_usdc", "age_s", "reason"),
    [
        (1, RULES.settle_max_age_s - 1, None),
        (1, RULES.settle_max_age_s, "age"),
        (RULES.settle_amount_usdc - 1, 0, None),
        (RULES.settle_amount_usdc, 0, "amount"),
        (TARGET, 0, "amount"),
    ],
)
def test_decide_settle__amount_and_age__settle_from_their_bounds(
    posted_usdc: int, age_s: int, reason: str | None
) -> None:
    item = settle(make_posted(posted_usdc, age_s=age_s))

    assert item == (None if reason is None else SettleItem(0, TARGET, reason))


@pytest.mark.parametrize("lives_s", [0, 1, RULES.settle_landing_s])
def test_decide_settle__hold_ends_before_it_lands__none(lives_s: int) -> None:
    assert settle(make_posted(TARGET, age_s=10**6, lives_s=lives_s)) is None


def test_decide_settle__hold_used_up__none() -> None:
    facts = make_posted(1, age_s=10**6)
    assert settle(replace(facts, state=replace(facts.state, hold_usdc=0))) is None


def test_decide_settle__idle_hold_ends_soon__settles_any_amount() -> None:
    facts = replace(make_posted(1, lives_s=RULES.settle_before_expiry_s - 1), wanted_at_s=None)

    assert settle(facts) == SettleItem(0, TARGET, "expiry")


def test_decide_settle__hold_in_use_ends_soon__waits_for_its_renewal() -> None:
    assert settle(make_posted(1, lives_s=RULES.settle_before_expiry_s - 1)) is None


def test_decide_settle__hold_in_use_was_not_renewed__settles() -> None:
    facts = make_posted(1, lives_s=RULES.settle_in_use_before_s - 1)

    assert settle(facts) == SettleItem(0, TARGET, "expiry")


def test_decide_settle__release_asked_for__settles_at_once() -> None:
    assert settle(ask_release(make_posted(1))) == SettleItem(0, TARGET, "release")


# ------------------------------------------------------------------------------------------- hold


def test_decide_hold__no_hold_and_wanted__opens_the_target() -> None:
    facts = make_facts(make_state(credited_usdc=CREDIT, hold_usdc=0))

    assert placed(hold(facts)) == (TARGET, "open")


def test_decide_hold__less_credit_than_the_target__opens_all_of_it() -> None:
    facts = make_facts(make_state(credited_usdc=1, hold_usdc=0))

    assert placed(hold(facts)) == (1, "open")


def test_decide_hold__no_credit__none() -> None:
    assert hold(make_facts(make_state(credited_usdc=0, hold_usdc=0))) is None


def test_decide_hold__the_largest_credit_asked_for__is_held() -> None:
    facts = make_facts(make_state(credited_usdc=USDC_MAX, hold_usdc=0), required_usdc=USDC_MAX)

    assert placed(hold(facts)) == (USDC_MAX, "open")


def test_decide_hold__more_asked_for_than_the_target__opens_that() -> None:
    state = make_state(credited_usdc=CREDIT, hold_usdc=0)

    assert placed(hold(make_facts(state, required_usdc=TARGET + 1))) == (TARGET + 1, "open")


def test_decide_hold__daily_cap__bounds_it() -> None:
    state = make_state(credited_usdc=10 * USDC_ONE, hold_usdc=0, daily_smoothing_bps=1_000)

    assert placed(hold(make_facts(state))) == (USDC_ONE, "open")


def test_decide_hold__new_day__counts_the_new_day_s_cap() -> None:
    state = make_state(credited_usdc=10 * USDC_ONE, hold_usdc=0, daily_smoothing_bps=1_000)
    spent = replace(state, spent_usdc=USDC_ONE, day_spent_usdc=USDC_ONE)
    midnight_s = (NOW_S // SECONDS_PER_DAY + 1) * SECONDS_PER_DAY
    facts = make_facts(spent, wanted_at_s=midnight_s)

    assert hold(facts, now_s=midnight_s - 1) is None
    tomorrow = hold(facts, now_s=midnight_s)
    assert tomorrow is not None
    assert tomorrow.amount_usdc == 900_000


def test_decide_hold__carries_the_mirrored_epoch() -> None:
    item = hold(make_facts(make_state(credited_usdc=CREDIT, hold_usdc=0, key_epoch=7)))

    assert item is not None
    assert item.key_epoch == 7


def test_decide_hold__demand_is_old__none() -> None:
    state = make_state(credited_usdc=CREDIT, hold_usdc=0)
    wanted_at_s = NOW_S - RULES.active_window_s

    assert hold(make_facts(state, wanted_at_s=wanted_at_s)) is not None
    assert hold(make_facts(state, wanted_at_s=wanted_at_s - 1)) is None


def test_decide_hold__fresh_hold_in_use__none() -> None:
    assert hold(make_facts()) is None


@pytest.mark.parametrize(
    ("drawn_usdc", "amount_usdc"),
    [
        (0, None),
        (TARGET // 2, None),
        (TARGET // 2 + 10_000, TARGET + 10_000),
        (TARGET, TARGET * 3 // 2),
    ],
)
def test_decide_hold__half_is_drawn__tops_up_to_half_free(
    drawn_usdc: int, amount_usdc: int | None
) -> None:
    item = hold(make_facts(drawn_usdc=drawn_usdc, drawn_current_usdc=drawn_usdc))

    assert (placed(item) if item else None) == (
        None if amount_usdc is None else (amount_usdc, "top_up")
    )


def test_decide_hold__more_is_asked_for_than_half__tops_up_by_it() -> None:
    facts = make_facts(drawn_usdc=10, drawn_current_usdc=10, required_usdc=TARGET)

    assert placed(hold(facts)) == (TARGET + 10, "top_up")


@pytest.mark.parametrize(("credited_usdc", "acts"), [(106, False), (107, True)])
def test_decide_hold__a_trifle_is_missing__tops_up_only_if_that_lets_a_request_through(
    credited_usdc: int, acts: bool
) -> None:
    state = make_state(credited_usdc=credited_usdc, hold_usdc=100)
    item = hold(make_facts(state, drawn_usdc=100, drawn_current_usdc=100, required_usdc=7))

    assert (placed(item) if item else None) == ((107, "top_up") if acts else None)


def test_decide_hold__hold_was_settled_below_half__tops_up_to_the_target() -> None:
    facts = make_facts(make_state(credited_usdc=CREDIT, hold_usdc=TARGET // 2 - 1))

    assert placed(hold(facts)) == (TARGET, "top_up")


def test_decide_hold__top_up_would_gain_a_trifle__none() -> None:
    state = make_state(credited_usdc=USDC_ONE, hold_usdc=USDC_ONE - RULES.hold_step_min_usdc + 1)
    assert hold(make_facts(state)) is None

    state = make_state(credited_usdc=USDC_ONE, hold_usdc=USDC_ONE - RULES.hold_step_min_usdc)
    assert placed(hold(make_facts(state))) == (USDC_ONE, "top_up")


@pytest.mark.parametrize(("left_s", "acts"), [(2_700, False), (2_699, True), (1, True)])
def test_decide_hold__in_use_and_near_expiry__renews(left_s: int, acts: bool) -> None:
    facts = make_facts(make_state(credited_usdc=CREDIT, hold_usdc=TARGET, hold_lives_s=left_s))

    item = hold(facts)
    assert (placed(item) if item else None) == ((TARGET, "renew") if acts else None)


@pytest.mark.parametrize("left_s", [2_000, 600, 1])
@pytest.mark.parametrize("drawn_usdc", [0, 2 * USDC_ONE])
def test_decide_hold__yesterdays_hold_is_above_todays_cap__renewed_whole(
    left_s: int, drawn_usdc: int
) -> None:
    # Today's cap alone would grant 1 USDC.
    state = make_state(credited_usdc=CREDIT, hold_usdc=TARGET, daily_smoothing_bps=100)
    facts = make_facts(replace(state, hold_expires_at_s=NOW_S + left_s), drawn_usdc=drawn_usdc)

    assert placed(hold(facts)) == (TARGET, "renew")


def test_decide_hold__idle_and_nothing_drawn__lets_it_lapse() -> None:
    state = make_state(credited_usdc=CREDIT, hold_usdc=TARGET, hold_lives_s=1)

    assert hold(make_facts(state, wanted_at_s=None)) is None


def test_decide_hold__idle_but_drawn_near_expiry__renews_what_is_promised() -> None:
    state = make_state(credited_usdc=CREDIT, hold_usdc=TARGET, hold_lives_s=1_000)
    facts = make_facts(state, wanted_at_s=None, drawn_usdc=10, drawn_current_usdc=10)

    assert placed(hold(facts)) == (TARGET, "renew")


@pytest.mark.parametrize(("wanted_at_s", "spare_usdc"), [(None, 0), (NOW_S, TARGET // 2)])
def test_decide_hold__drawn_without_a_hold__covers_it(
    wanted_at_s: int | None, spare_usdc: int
) -> None:
    state = make_state(credited_usdc=CREDIT, hold_usdc=0)
    facts = make_facts(
        state, wanted_at_s=wanted_at_s, drawn_usdc=9_000_000, drawn_current_usdc=9_000_000
    )

    assert placed(hold(facts)) == (9_000_000 + spare_usdc, "cover")


def test_decide_hold__drawn_above_the_hold__covers_it() -> None:
    facts = make_facts(wanted_at_s=None, drawn_usdc=TARGET + 1, drawn_current_usdc=TARGET + 1)

    assert placed(hold(facts)) == (TARGET + 1, "cover")


def test_decide_hold__drawn_above_all_credit__secures_what_is_there_once() -> None:
    facts = make_facts(
        make_state(credited_usdc=10, hold_usdc=0), drawn_usdc=12, drawn_current_usdc=12
    )
    assert placed(hold(facts)) == (10, "cover")

    held = replace(facts, state=make_state(credited_usdc=10, hold_usdc=10))
    assert hold(held) is None


def test_decide_hold__drawn_by_a_revoked_key_without_a_hold__opens_nothing_for_it() -> None:
    state = make_state(credited_usdc=CREDIT, hold_usdc=0, key_epoch=1)
    facts = make_facts(state, wanted_at_s=None, drawn_usdc=10, drawn_current_usdc=0)

    assert hold(facts) is None


def test_decide_hold__release_with_nothing_drawn__frees_it() -> None:
    assert placed(hold(ask_release(make_facts()))) == (0, "release")


def test_decide_hold__release_without_a_hold__is_answered() -> None:
    facts = make_facts(make_state(credited_usdc=CREDIT, hold_usdc=0))

    assert placed(hold(ask_release(facts))) == (0, "release")


@pytest.mark.parametrize("drawn_usdc", [1, TARGET])
def test_decide_hold__release_while_drawn__waits(drawn_usdc: int) -> None:
    facts = make_facts(drawn_usdc=drawn_usdc, drawn_current_usdc=drawn_usdc)

    assert hold(ask_release(facts)) is None


def test_decide_hold__after_a_release__waits_the_grace() -> None:
    state = make_state(credited_usdc=CREDIT, hold_usdc=0)
    grace_s = RULES.release_grace_s

    assert hold(make_facts(state, released_at_s=NOW_S - grace_s + 1)) is None
    assert placed(hold(make_facts(state, released_at_s=NOW_S - grace_s))) == (TARGET, "open")


# ---------------------------------------------------------------------------------------- harvest


def make_quote(credited_usdc: int, *, waited_s: int = 0) -> HarvestQuote:
    return HarvestQuote(3, NOW_S - waited_s, credited_usdc)


@pytest.mark.parametrize(
    ("credited_usdc", "waited_s", "gas_usdc", "reason"),
    [
        (10_000, 0, 0, "due"),
        (9_999, 10**6, 0, None),
        (0, 0, 0, None),
        (USDC_MAX, 0, 0, "due"),
        (USDC_ONE, -1, 0, None),
        (30_000, 0, 10_000, "due"),
        (29_999, 0, 10_000, None),
        (29_999, RULES.harvest_max_age_s - 1, 10_000, None),
        (29_999, RULES.harvest_max_age_s, 10_000, "age"),
        (10_001, RULES.harvest_max_age_s, 10_001, "age"),
        (10_000, 10**9, 10_001, None),
    ],
)
def test_decide_harvest__due__brings_the_margin_or_is_old_and_brings_its_cost(
    credited_usdc: int, waited_s: int, gas_usdc: int, reason: str | None
) -> None:
    scene = make_scene(harvest_gas_usdc=gas_usdc)
    item = decide_harvest(make_quote(credited_usdc, waited_s=waited_s), scene.moment, RULES)

    assert item == (None if reason is None else HarvestItem(3, credited_usdc, reason))


# ----------------------------------------------------------------------------------------- payouts


def make_payout(payout_id: str, amount_usdc: int, *, waited_s: int = 0) -> PayoutDue:
    return PayoutDue(payout_id, "0x" + "aa" * 20, amount_usdc, NOW_S - waited_s)


def paid(*payouts: PayoutDue, treasury_usdc: int = USDC_MAX, **changes: object) -> list[str]:
    """Return the ids that are paid and why."""
    scene = make_scene(payouts=payouts, treasury_usdc=treasury_usdc, **changes)
    return [
        f"{item.payout_id} {item.reason}"
        for action in decide(scene, RULES)
        for item in action.items
        if isinstance(item, PayoutItem)
    ]


@pytest.mark.parametrize(
    ("amount_usdc", "waited_s", "expected"),
    [
        (1, RULES.payout_max_age_s - 1, []),
        (1, RULES.payout_max_age_s, ["a age"]),
        (RULES.payout_amount_usdc - 1, 0, []),
        (RULES.payout_amount_usdc, 0, ["a amount"]),
    ],
)
def test_decide__payable__is_paid_by_amount_or_age(
    amount_usdc: int, waited_s: int, expected: list[str]
) -> None:
    assert paid(make_payout("a", amount_usdc, waited_s=waited_s)) == expected


def test_decide__payable__oldest_first_and_never_more_than_the_treasury_has() -> None:
    payouts = [
        make_payout("young", 1, waited_s=1),
        make_payout("large", 6, waited_s=99),
        make_payout("old", 5, waited_s=100),
    ]

    assert paid(*payouts, treasury_usdc=6) == ["old age", "young age"]
    assert paid(*payouts, treasury_usdc=0) == []


def test_decide__payable__waits_while_a_payment_is_on_its_way_or_it_was_refused() -> None:
    payouts = [make_payout("a", 1, waited_s=99), make_payout("b", 1, waited_s=99)]

    assert paid(*payouts, kinds_in_flight=frozenset({"payout"})) == []
    assert paid(*payouts, resting=frozenset({("payout", "a")})) == ["b age"]


def test_decide__more_payable_than_a_transaction_takes__the_oldest() -> None:
    payouts = [make_payout(f"{n:03}", 1, waited_s=1_000 - n) for n in range(RULES.items_max + 1)]

    assert paid(*payouts) == [f"{n:03} age" for n in range(RULES.items_max)]


def test_decide__refused_lately__rests_in_its_kind_only() -> None:
    facts = make_posted(USDC_ONE, lives_s=1_000)
    resting = frozenset({("settle", facts.token_id)})

    assert [a.kind for a in decide(make_scene(facts, resting=resting), RULES)] == ["hold"]


# ------------------------------------------------------------------------------------------ decide


def test_decide__nothing__no_action() -> None:
    assert decide(make_scene(), RULES) == []


def test_decide__everything_due__settles_first_and_sweeps_last() -> None:
    scene = make_scene(
        make_posted(USDC_ONE),
        make_facts(make_state(1, credited_usdc=CREDIT, hold_usdc=0)),
        harvests=(make_quote(10_000), HarvestQuote(4, NOW_S, 20_000)),
        owed_usdc=RULES.sweep_amount_usdc,
        owed_since_s=NOW_S,
    )

    assert decide(scene, RULES) == [
        Action("settle", (SettleItem(0, TARGET, "amount"),)),
        Action("hold", (HoldItem(1, TARGET, NOW_S + LIFETIME_S, 0, "open"),)),
        Action("harvest", (HarvestItem(4, 20_000, "due"), HarvestItem(3, 10_000, "due"))),
        Action("sweep", (SweepItem(RULES.sweep_amount_usdc, "amount"),)),
    ]


def test_decide__settled_and_renewed_at_once__renewal_covers_what_was_drawn_before() -> None:
    facts = make_posted(USDC_ONE, lives_s=1_000)

    actions = decide(make_scene(facts), RULES)

    assert [action.kind for action in actions] == ["settle", "hold"]
    assert actions[1].items[0] == HoldItem(0, TARGET, NOW_S + LIFETIME_S, 0, "renew")


@pytest.mark.parametrize("kind", ["settle", "hold"])
def test_decide__settlement_or_hold_on_its_way__leaves_the_position_alone(kind: str) -> None:
    other = make_facts(make_state(1, credited_usdc=CREDIT, hold_usdc=0))
    scene = make_scene(make_posted(TARGET, lives_s=1_000), other, in_flight=frozenset({(kind, 0)}))

    assert [action.token_ids for action in decide(scene, RULES)] == [(1,)]


def test_decide__harvest_on_its_way__is_not_made_again() -> None:
    scene = make_scene(harvests=(make_quote(10_000),), in_flight=frozenset({("harvest", 3)}))

    assert decide(scene, RULES) == []


@pytest.mark.parametrize(
    ("owed_usdc", "since_s", "in_flight", "reason"),
    [
        (0, None, False, None),
        (1, NOW_S - RULES.sweep_max_age_s + 1, False, None),
        (1, NOW_S - RULES.sweep_max_age_s, False, "age"),
        (RULES.sweep_amount_usdc - 1, NOW_S, False, None),
        (RULES.sweep_amount_usdc, NOW_S, False, "amount"),
        (RULES.sweep_amount_usdc, NOW_S, True, None),
    ],
)
def test_decide__owed__is_swept_by_amount_or_age(
    owed_usdc: int, since_s: int | None, in_flight: bool, reason: str | None
) -> None:
    scene = make_scene(
        owed_usdc=owed_usdc,
        owed_since_s=since_s,
        kinds_in_flight=frozenset({"sweep"} if in_flight else ()),
    )
    expected = [] if reason is None else [Action("sweep", (SweepItem(owed_usdc, reason),))]

    assert decide(scene, RULES) == expected


def test_decide__more_than_a_transaction_takes__the_most_urgent_first() -> None:
    wanting = [
        make_facts(make_state(token_id, credited_usdc=CREDIT, hold_usdc=0))
        for token_id in range(RULES.items_max + 50)
    ]
    last = wanting[-1].state
    wanting[-1] = make_facts(last, drawn_usdc=5, drawn_current_usdc=5)

    (action,) = decide(make_scene(*wanting), RULES)

    assert len(action.items) == RULES.items_max
    assert action.token_ids[0] == last.token_id, "what is drawn without a hold comes first"
    assert action.token_ids[1:3] == (0, 1)
    assert action.reason == f"cover x1, open x{RULES.items_max - 1}"
