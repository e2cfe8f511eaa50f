"""The lab's statistics.

wealth
├── any factors whose mean is 1: the mean of the wealth is 1, whatever the strategies
├── an honest year: never convicted
└── a change late in the period: noticed all the same
two samples
├── the mean of a block's factor over all labellings is exactly 1, whatever was learned
├── a full swap: within 2 probes; a mixture of a tenth: within 30; a turncoat; another temperature
└── an honest offer: no evidence
token counts
├── a template's tokens cancel
└── a share that is added is found, a constant is not
verdicts
└── one method only doubts, two convict
"""

from collections.abc import Sequence
from itertools import combinations, product
from random import Random

import pytest

from market.evidence.count_differences import EXACT_TOLERANCE, HONEST_RATE, CountWatch
from market.evidence.two_samples import AnswerBlock, Comparison
from market.evidence.verdicts import (
    CONVICTS,
    LIVE_METHODS,
    SUSPECTS,
    Method,
    OfferVerdict,
    find_last_clean,
    judge,
)
from market.evidence.wealth import LOOKS, RATES, Wealth, bet_on_rate
from tests.support.simulated_offers import Models, count_probes, make_models, probe


def test_wealth__fair_factors__keep_its_mean_at_one() -> None:
    """Of all eight outcomes of three fair rounds, with two strategies each."""
    outcomes = ((1.7, 0.2), (0.3, 1.8))
    total = 0.0
    for rounds in product(outcomes, repeat=3):
        wealth = Wealth(strategies=2)
        for factors in rounds:
            wealth.observe(factors)
        total += wealth.get()

    assert total / 8 == pytest.approx(1.0)


@pytest.mark.parametrize("honest", [0.01, 0.05, 0.2])
def test_bet_on_rate__at_the_honest_rate__is_fair(honest: float) -> None:
    hit, miss = bet_on_rate(True, honest=honest), bet_on_rate(False, honest=honest)

    means = [honest * won + (1 - honest) * lost for won, lost in zip(hit, miss, strict=True)]
    assert means == pytest.approx([1.0] * len(RATES))


def test_wealth__change_after_months__is_noticed() -> None:
    wealth = Wealth(strategies=len(RATES))
    for _ in range(LOOKS // 2):
        wealth.observe(bet_on_rate(False, honest=HONEST_RATE))
    peaks = []
    for _ in range(8):
        wealth.observe(bet_on_rate(True, honest=HONEST_RATE))
        peaks.append(wealth.peak)

    assert peaks[0] < CONVICTS <= peaks[-1]


def _label(block: AnswerBlock) -> Sequence[AnswerBlock]:
    """Return a block with each way to label its answers."""
    answers = (*block.offer, *block.reference)
    labelled = []
    for chosen in combinations(range(len(answers)), len(block.offer)):
        offer = tuple(answers[place] for place in chosen)
        rest = tuple(one for place, one in enumerate(answers) if place not in chosen)
        labelled.append(AnswerBlock(block.template, offer, rest))
    return labelled


@pytest.mark.parametrize("seed", range(5))
def test_block__over_all_labels__the_mean_factor_is_exactly_one(seed: int) -> None:
    random = Random(seed)
    comparison = Comparison()
    words = "abcdefghij"
    for _ in range(6):
        # Learn something that is far from honest.
        offer, reference = random.choices(words[:4], k=5), random.choices(words[2:], k=3)
        comparison.observe([AnswerBlock("t", tuple(offer), tuple(reference))])
    block = AnswerBlock("t", tuple(random.choices(words, k=3)), tuple(random.choices(words, k=4)))

    factors = [comparison._bet(one) for one in _label(block)]

    means = [sum(column) / len(factors) for column in zip(*factors, strict=True)]
    assert means == pytest.approx([1.0] * len(means), rel=1e-12)
    assert len({tuple(one) for one in factors}) > 1, "they do bet"


def _count_found(
    seed: int, *, offers: int, share: float, limit: int, usual: float = 0.9, **changes: int
) -> list[int]:
    random = Random(seed)
    found = []
    for _ in range(offers):
        models = make_models(random, usual=usual, agreement=0.4)
        probes = count_probes(random, models, share=share, limit=limit, **changes)
        if probes is not None:
            found.append(probes)
    return found


def test_swap__of_every_answer__is_found_within_two_probes() -> None:
    assert len(_count_found(1, offers=100, share=1.0, limit=2)) >= 99


def test_mixture__of_a_tenth__is_found_within_thirty_probes() -> None:
    found = _count_found(2, offers=40, share=0.1, limit=60)

    assert len(found) == 40
    assert sum(probes <= 30 for probes in found) >= 38


def test_turncoat__after_fifty_honest_probes__is_found_soon() -> None:
    found = _count_found(3, offers=10, share=1.0, limit=6, honest_before=50)

    assert len(found) == 10


def test_honest__thirty_probes__no_evidence() -> None:
    assert _count_found(4, offers=10, share=0.0, limit=30) == []


def test_honest__a_reference_that_answers_in_many_ways__no_evidence() -> None:
    assert _count_found(5, offers=10, share=0.0, limit=30, usual=0.3) == []


@pytest.mark.slow
def test_honest__two_hundred_years__none_is_convicted() -> None:
    # One in 1,000 years at most is: that none of 200 is, is to be expected.
    assert _count_found(6, offers=200, share=0.0, limit=LOOKS // 2) == []


@pytest.mark.slow
@pytest.mark.parametrize(("share", "limit", "least"), [(1.0, 2, 990), (0.1, 30, 940)])
def test_dishonest__a_thousand_offers__are_found(share: float, limit: int, least: int) -> None:
    assert len(_count_found(7, offers=1_000, share=share, limit=limit)) >= least


def test_same_model__another_template_of_answers__is_no_evidence_against_others() -> None:
    """A block without answers of one side, as after a failure, says nothing."""
    comparison = Comparison()
    comparison.observe([AnswerBlock("t", (), ("a",)), AnswerBlock("u", ("a",), ())])

    assert comparison.wealth.get() == 1.0
    assert comparison.templates == {}


def test_quantised__a_small_tilt__is_rarely_found_and_said_so() -> None:
    """What the lab cannot do: a copy that differs in one answer of fifty stays below conviction."""
    random = Random(8)
    models = make_models(random, usual=0.9, agreement=0.95)
    near = Models(models.model, models.model[:-1] + models.rival[-1:])  # type: ignore[operator]
    comparison = Comparison()
    for _ in range(10):
        probe(random, near, comparison, share=lambda: 1.0)

    assert comparison.wealth.peak < CONVICTS


def _watch(counts: Sequence[tuple[int, int]], tolerance: float = EXACT_TOLERANCE) -> list[bool]:
    watch = CountWatch(tolerance)
    noted = [watch.note("shape", counted=own, reported=said) for own, said in counts]
    return [one for one in noted if one is not None]


def test_count__a_template_of_any_size__cancels() -> None:
    assert _watch([(100, 1_400), (500, 1_800), (50, 1_350), (900, 2_200)]) == [False, False]


def test_count__a_share_is_added__each_difference_shows_it() -> None:
    inflated = [(own, 20 + own * 11 // 10) for own in (100, 1_000, 300, 2_000)]

    assert _watch(inflated) == [True, True]


def test_count__falling_prompt__is_the_same_difference() -> None:
    assert _watch([(1_000, 1_120), (100, 130)]) == [True]


def test_count__shapes_apart__are_not_compared() -> None:
    watch = CountWatch(EXACT_TOLERANCE)

    assert watch.note("one", counted=100, reported=100) is None
    assert watch.note("two", counted=1_000, reported=2_000) is None
    assert watch.note("one", counted=120, reported=500) is None, "too near to say anything"


def test_counts__inflated_by_a_tenth__convict_within_ten_differences() -> None:
    wealth = Wealth(strategies=len(RATES))
    looks = 0
    while wealth.peak < CONVICTS:
        wealth.observe(bet_on_rate(True, honest=HONEST_RATE))
        looks += 1

    assert looks <= 10


@pytest.mark.parametrize(
    ("peaks", "verdict"),
    [
        ({}, OfferVerdict.UNTESTED),
        ({Method.BORDER: 1.0}, OfferVerdict.CLEAN),
        ({Method.BORDER: SUSPECTS}, OfferVerdict.WATCHED),
        ({Method.BORDER: CONVICTS}, OfferVerdict.DOUBTED),
        ({Method.BORDER: CONVICTS * 1e9, Method.FIRST_TOKEN: SUSPECTS}, OfferVerdict.DOUBTED),
        ({Method.BORDER: CONVICTS, Method.FIRST_TOKEN: CONVICTS}, OfferVerdict.CONVICTED),
        # On live traffic anybody chooses what is asked.
        (dict.fromkeys(LIVE_METHODS, CONVICTS * 1e9), OfferVerdict.WATCHED),
        ({Method.LOGPROBS: SUSPECTS}, OfferVerdict.WATCHED),
        ({Method.BORDER: CONVICTS, Method.LOGPROBS: CONVICTS * 1e9}, OfferVerdict.DOUBTED),
    ],
)
def test_judge__one_method_of_probes_doubts_two_convict_and_live_traffic_neither(
    peaks: dict[Method, float], verdict: OfferVerdict
) -> None:
    assert judge(peaks) is verdict


def test_find_last_clean__live_traffic__moves_no_refund() -> None:
    probes = [
        (Method.BORDER, 1.0, 10),
        (Method.LOGPROBS, CONVICTS * 1e9, 20),
        (Method.BORDER, 1.0, 30),
        (Method.LOGPROBS, CONVICTS * 1e9, 40),
        (Method.BORDER, CONVICTS, 50),
    ]

    assert find_last_clean(probes) == 30
    assert find_last_clean(probes[:4]) == 30, "before anything convicts"
