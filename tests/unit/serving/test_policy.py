"""Policies: read, narrowed by one another, held against what is known of whoever serves.

::

    parse ── each field, its bad values by name, objects in a list
    narrow ── a request never widens its key's policy, whichever names both use (a property)
    facts ── a stranger's word counts for nothing; the operator's table bounds everybody's
"""

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.dialects.policy import (
    ANYBODY,
    Policy,
    Sort,
    find_needed,
    find_unmet,
    get_place,
    is_named,
    is_too_dear,
    narrow,
    parse_policy,
)
from serving.dialects.serving_facts import (
    ANY_BOUNDS,
    STRANGER,
    Bounds,
    Facts,
    bound_facts,
    parse_declared,
    read_facts,
    write_declared,
)
from serving.http.errors import RequestRejected
from serving.models.prices import Price

GOOD = Facts(
    keeps_nothing=True,
    may_collect=False,
    region="eu",
    quantization="bf16",
    parameters=frozenset({"tools", "seed"}),
)


def test_parse__all_of_it__as_openrouters_clients_write_it() -> None:
    assert parse_policy(
        {
            "only": ["OpenAI", "seller:0x" + "ab" * 20],
            "ignore": ["offer:0198c0de"],
            "order": ["openai", "example.com", "openai"],
            "zdr": True,
            "data_collection": "deny",
            "regions": ["EU"],
            "quantizations": ["bf16", "unknown"],
            "require_parameters": True,
            "sort": {"by": "throughput", "partition": "model"},
            "max_price": {"prompt": 0.5, "completion": "2.000001", "request": 1},
        }
    ) == Policy(
        only=(frozenset({"provider:openai", "seller:0x" + "ab" * 20}),),
        ignore=frozenset({"offer:0198c0de"}),
        order=("provider:openai", "provider:example.com"),
        keeps_nothing=True,
        denies_collection=True,
        regions=frozenset({"eu"}),
        quantizations=frozenset({"bf16", "unknown"}),
        requires_parameters=True,
        sort=Sort.THROUGHPUT,
        input_usdc_per_mtok_max=500_000,
        output_usdc_per_mtok_max=2_000_001,
        per_request_usdc_max=1_000_000,
    )


@pytest.mark.parametrize(
    "said", [None, {}, [], [{}], {"zdr": None, "only": None, "sort": None}, {"zdr": False}]
)
def test_parse__nothing_said__is_anybody(said: Any) -> None:
    assert parse_policy(said) == ANYBODY


def test_parse__no_fallbacks__the_order_alone_or_the_first_choice_alone() -> None:
    ordered = parse_policy({"order": ["a"], "allow_fallbacks": False})
    assert ordered.only == (frozenset({"provider:a"}),)
    assert not ordered.is_single
    assert parse_policy({"allow_fallbacks": False}).is_single


@pytest.mark.parametrize(
    ("said", "param"),
    [
        ("openai", "provider"),
        ([{}] * 9, "provider"),
        ([{}, "openai"], "provider[1]"),
        ([{}, {"zdr": 1}], "provider[1].zdr"),
        ({"zdr": "true"}, "provider.zdr"),
        ({"only": "openai"}, "provider.only"),
        ({"only": ["\u043epenai"]}, "provider.only"),  # a letter that only looks like another
        ({"only": [""]}, "provider.only"),
        ({"ignore": [1]}, "provider.ignore"),
        ({"order": ["a"] * 101}, "provider.order"),
        ({"order": ["wallet:a"]}, "provider.order"),
        ({"data_collection": False}, "provider.data_collection"),
        ({"data_collection": ["deny"]}, "provider.data_collection"),
        ({"regions": ["everywhere on earth"]}, "provider.regions"),
        ({"quantizations": ["int3"]}, "provider.quantizations"),
        ({"quantizations": [["int4"]]}, "provider.quantizations"),
        ({"sort": "cheap"}, "provider.sort"),
        ({"sort": ["price"]}, "provider.sort"),
        ({"sort": {"by": "price", "partition": "none"}}, "provider.sort"),
        ({"max_price": 3}, "provider.max_price"),
        ({"max_price": {"image": 1}}, "provider.max_price.image"),
        ({"max_price": {"prompt": -1}}, "provider.max_price.prompt"),
        ({"max_price": {"prompt": True}}, "provider.max_price.prompt"),
        ({"max_price": {"prompt": float("nan")}}, "provider.max_price.prompt"),
        ({"max_price": {"prompt": 1e-7}}, "provider.max_price.prompt"),
        ({"max_price": {"prompt": "1e3"}}, "provider.max_price.prompt"),
        ({"max_price": {"completion": 10**7}}, "provider.max_price.completion"),
        ({"preferred_max_latency": 3}, "provider.preferred_max_latency"),
        ({"enforce_distillable_text": True}, "provider.enforce_distillable_text"),
    ],
)
def test_parse__nonsense__refused_by_name(said: Any, param: str) -> None:
    with pytest.raises(RequestRejected) as refused:
        parse_policy(said)
    assert refused.value.param == param


# -------------------------------------------------------------------------------------- narrowed

NAMES = ("provider:a", "provider:b", "seller:c", "offer:d")
FACTS = [
    Facts(keeps, collects, region, weights, parameters)
    for keeps, collects, region, weights, parameters in product(
        (False, True), (False, True), (None, "eu"), (None, "fp8"), (None, frozenset({"tools"}))
    )
]
PRICES = [Price(1, 1), Price(1, 9), Price(9, 1), Price(1, 1, None, 9)]


def objects() -> st.SearchStrategy[dict[str, Any]]:
    names = st.lists(st.sampled_from(NAMES), max_size=3)
    return st.fixed_dictionaries(
        {},
        optional={
            "only": names,
            "ignore": names,
            "order": names,
            "allow_fallbacks": st.booleans(),
            "zdr": st.booleans(),
            "trusted_only": st.booleans(),
            "require_parameters": st.booleans(),
            "data_collection": st.sampled_from(["allow", "deny"]),
            "regions": st.lists(st.sampled_from(["eu", "us"]), max_size=2),
            "quantizations": st.lists(st.sampled_from(["fp8", "int4", "unknown"]), max_size=2),
            "max_price": st.fixed_dictionaries(
                {}, optional={"prompt": st.sampled_from(["0.000001", "0.000009"])}
            ),
            "sort": st.sampled_from(["price", "latency"]),
        },
    )


def lets_through(policy: Policy) -> set[tuple[int, int, int, bool]]:
    """Return which of all offers that differ in what counts may serve."""
    return {
        (number, place, way, is_trusted)
        for number, facts in enumerate(FACTS)
        for place, names in enumerate([NAMES[:1], NAMES[1:2], NAMES[:3:2], NAMES])
        for way, price in enumerate(PRICES)
        for is_trusted in (False, True)
        if find_unmet(policy, facts, frozenset({"tools"})) is None
        and is_named(policy, names)
        and not is_too_dear(policy, price)
        and (is_trusted or not policy.trusted_only)
    }


@given(objects(), objects())
def test_narrow__lets_through_what_both_do_and_nothing_else(
    outer: dict[str, Any], inner: dict[str, Any]
) -> None:
    both = narrow(parse_policy(outer), parse_policy(inner))
    assert lets_through(both) == lets_through(parse_policy(outer)) & lets_through(
        parse_policy(inner)
    )
    assert parse_policy([outer, inner]) == both


def test_narrow__who_comes_first__is_the_requests_to_say() -> None:
    key = parse_policy({"sort": "latency", "order": ["a"]})
    assert narrow(key, parse_policy({"sort": "throughput"})).sort is Sort.THROUGHPUT
    assert narrow(key, parse_policy({"zdr": True})).sort is Sort.LATENCY
    assert narrow(key, parse_policy({"order": ["b"]})).order == ("provider:b",)


def test_place__of_many_names__the_first_that_is_listed() -> None:
    policy = parse_policy({"order": ["a", "offer:d"]})
    assert [get_place(policy, names) for names in (["offer:d", "provider:z"], ["provider:a"])] == [
        1,
        0,
    ]
    assert get_place(policy, ["provider:z"]) == 2


# ----------------------------------------------------------------------------------------- facts


@pytest.mark.parametrize(
    ("demand", "field"),
    [
        ({"zdr": True}, "zdr"),
        ({"data_collection": "deny"}, "data_collection"),
        ({"regions": ["eu"]}, "regions"),
        ({"quantizations": ["bf16", "fp8"]}, "quantizations"),
        ({"require_parameters": True}, "require_parameters"),
    ],
)
def test_unmet__a_stranger_meets_nothing__who_declared_it_does(
    demand: dict[str, Any], field: str
) -> None:
    policy, needed = parse_policy(demand), frozenset({"tools"})
    assert find_unmet(policy, STRANGER, needed) == field
    assert find_unmet(policy, GOOD, needed) is None
    declared_by_a_stranger = bound_facts(GOOD, ANY_BOUNDS, is_trusted=False)
    assert find_unmet(policy, declared_by_a_stranger, needed) == field


def test_unmet__unknown_weights__pass_where_unknown_is_named() -> None:
    assert find_unmet(parse_policy({"quantizations": ["unknown"]}), STRANGER, frozenset()) is None
    assert find_unmet(parse_policy({"quantizations": ["unknown"]}), GOOD, frozenset()) is not None


def test_needed__only_fields_that_some_ignore() -> None:
    body = {"tools": [{}], "seed": 0, "temperature": 1, "logprobs": None, "logit_bias": {}}
    assert find_needed(body) == {"tools", "seed"}


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        (ANY_BOUNDS, GOOD),
        (Bounds(keeps_nothing=True, may_collect=False), GOOD),
        (Bounds(keeps_nothing=False), Facts(False, False, "eu", "bf16", GOOD.parameters)),
        (Bounds(may_collect=True), Facts(False, True, "eu", "bf16", GOOD.parameters)),
        (Bounds(regions=frozenset({"us"})), Facts(True, False, None, "bf16", GOOD.parameters)),
        (Bounds(regions=frozenset({"us", "eu"})), GOOD),
    ],
)
def test_bounds__of_the_table__hold_for_everybody(bounds: Bounds, expected: Facts) -> None:
    assert bound_facts(GOOD, bounds, is_trusted=True) == expected


def test_bounds__grant_nothing__that_was_not_declared() -> None:
    generous = Bounds(keeps_nothing=True, may_collect=False, regions=frozenset({"eu"}))
    assert bound_facts(STRANGER, generous, is_trusted=True) == STRANGER


def test_declared__there_and_back() -> None:
    assert parse_declared(write_declared(GOOD)) == GOOD
    assert parse_declared(write_declared(STRANGER)) == STRANGER
    assert parse_declared({}) == STRANGER
    assert not parse_declared({"zdr": True}).may_collect


@pytest.mark.parametrize(
    "declared",
    [
        None,
        [],
        {"zdr": 1},
        {"zdr": True, "data_collection": "allow"},
        {"data_collection": "none"},
        {"region": "every where"},
        {"region": 7},
        {"quantization": "unknown"},
        {"quantization": "int3"},
        {"parameters": "tools"},
        {"parameters": ["temperature"]},
        {"uptime": 1},
    ],
)
def test_declared__nonsense__refused(declared: Any) -> None:
    with pytest.raises(RequestRejected):
        parse_declared(declared)


@pytest.mark.parametrize("entry", [{}, {"facts": None}, {"facts": {"zdr": "yes"}}, {"facts": []}])
def test_read__what_a_market_states_oddly__is_a_strangers(entry: dict[str, Any]) -> None:
    assert read_facts(entry) == STRANGER


def test_read__what_a_market_states__with_nulls() -> None:
    stated = {"zdr": True, "data_collection": "deny", "region": None, "parameters": None}
    assert read_facts({"facts": stated}) == Facts(True, False)
