"""What ``cheapest`` may mean: models that somebody else than upstream knows.

::

    a price of the operator's file or of the data set     yes
    upstream's own price ── with a reference              yes
                         └── without one: invented        no
    no price                                              it has no offer anyway
"""

import pytest

from proxy.catalogue import Model
from proxy.chat.model_choice import is_known
from serving.models.prices import Price
from serving.models.references import References
from serving.models.terms import Source, Terms

NOW_S = 1_800_000_000
PRICE = ((0, Price(1, 1)),)


def make_model(name: str, source: Source | None) -> Model:
    terms = None if source is None else Terms(PRICE, source, stated_at_s=NOW_S)
    return Model(name, "somebody", terms, None)


@pytest.mark.parametrize(
    ("name", "source", "known"),
    [
        ("zz-anything", "upstream", False),
        ("zz-anything", "operator", True),
        ("gpt-4o", "upstream", True),
        ("gpt-4o", "genai-prices", True),
        ("zz-anything", None, True),
    ],
)
def test_is_known__by_whose_price(name: str, source: Source | None, known: bool) -> None:
    assert is_known(make_model(name, source), References(), now_s=NOW_S) is known


def test_is_known__the_operators_file_names_it__although_upstream_states_the_charge() -> None:
    prices = References(operator={"house": Terms(PRICE, "operator")})

    assert is_known(make_model("house", "upstream"), prices, now_s=NOW_S)
