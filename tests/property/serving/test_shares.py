"""Fair shares, whoever asks for how much and in whatever order."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from serving.process.shares import Shares

TENANTS = st.integers(0, 8)
STEPS = st.lists(st.tuples(st.booleans(), TENANTS), max_size=200)
TOTALS = st.integers(1, 64)
PROVEN = st.frozensets(TENANTS)


@given(TOTALS, STEPS, PROVEN)
def test_shares__any_order__never_above_the_total(
    total: int, steps: list[tuple[bool, int]], proven: frozenset[int]
) -> None:
    shares, held = Shares(total), Counter[int]()
    for takes, tenant in steps:
        if takes:
            held[tenant] += shares.take(tenant, is_proven=tenant in proven)
        elif held[tenant]:
            shares.give_back(tenant, is_proven=tenant in proven)
            held[tenant] -= 1
        assert 0 <= held.total() <= total
        assert shares.free == total - held.total()
        assert all(shares.get_held(one) == held[one] for one in held)


@given(TOTALS, STEPS)
def test_shares__refused__nothing_but_the_reserve_is_idle(
    total: int, steps: list[tuple[bool, int]]
) -> None:
    shares = Shares(total)
    for takes, tenant in steps:
        if takes and not shares.take(tenant):
            assert shares.free <= total / 8
        elif not takes and shares.get_held(tenant):
            shares.give_back(tenant)


@given(st.integers(32, 1_000), st.lists(st.integers(0, 2), max_size=3), st.booleans())
def test_shares__greedy_tenants__a_newcomer_gets_in(
    total: int, order: list[int], is_proven: bool
) -> None:
    """Up to three take all that they get, one after the other or over and over."""
    shares = Shares(total)
    for greedy in order * 2:
        while shares.take(greedy, is_proven=is_proven):
            pass

    assert shares.take("newcomer", is_proven=is_proven)


@given(st.integers(32, 1_000), st.lists(st.integers(0, 50), max_size=60), st.booleans())
def test_shares__parts_of_a_greedy_tenant__a_newcomer_gets_in(
    total: int, parts: list[int], is_proven: bool
) -> None:
    """However many keys it has, half of the reserve is for others."""
    shares, held = Shares(total), Counter[int]()
    for part in parts:
        while shares.take("greedy", is_proven=is_proven, held_by_part=held[part]):
            held[part] += 1

    for newcomer in range(total // 32):
        assert shares.take(newcomer, is_proven=is_proven)


@given(st.integers(64, 1_000), st.booleans())
def test_shares__one_part_took_all_it_gets__another_gets_some(total: int, is_proven: bool) -> None:
    shares = Shares(total)
    taken = 0
    while shares.take("tenant", is_proven=is_proven, held_by_part=taken):
        taken += 1

    assert shares.take("tenant", is_proven=is_proven, held_by_part=0)


@given(st.integers(4, 1_000))
def test_shares__a_thousand_unproven__leave_a_quarter_to_the_proven(total: int) -> None:
    shares = Shares(total)
    for stranger in range(2 * total):
        shares.take(stranger, is_proven=False)

    assert shares.free == total // 4
    assert shares.take("who has paid")


def test_shares__alone__gets_all_but_the_reserve() -> None:
    shares = Shares(1_000)
    while shares.take("one"):
        pass

    assert shares.get_held("one") == 875


@given(st.integers(16, 400))
def test_shares__two_greedy_at_equal_speed__the_later_one_grows_to_a_like_share(total: int) -> None:
    """Whoever holds less wins each place of the reserve that comes free."""
    shares = Shares(total)
    while shares.take("early"):
        pass
    while shares.take("late"):
        pass
    for _ in range(4 * total):
        shares.give_back("early")
        for tenant in ("late", "early"):
            shares.take(tenant)
        if shares.get_held("early") <= shares.get_held("late"):
            break

    assert shares.get_held("late") >= shares.reserve
