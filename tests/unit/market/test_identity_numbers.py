"""Identity numbers: which spellings are the same number, and what is none of its type."""

import pytest

from market.suppliers.identity_numbers import normalise, read_identity_number
from market.suppliers.kyb_form import read_owners
from market.suppliers.kyb_requirements import find_requirements
from serving.http.errors import ApiError
from tests.support.kyb import OWNER

CHINESE = "11010519491231002X"
"""The standard's own example."""


@pytest.mark.parametrize(
    "text",
    [
        "K1234567X",
        "k 123-45.67 x",
        "\uff2b\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff38",
        "K\u20111234567\u00a0X",
    ],
)
def test_number__spelled_otherwise__is_the_same(text: str) -> None:
    assert normalise(text) == "K1234567X"


def test_number__of_another_country_or_type__has_another_digest() -> None:
    messages = {
        found.message()
        for country in ("DE", "SG")
        for id_type in ("passport", "drivers_license")
        if (found := read_identity_number("K1234567X", country=country, id_type=id_type))
    }

    assert len(messages) == 4


@pytest.mark.parametrize(
    ("text", "country", "id_type", "is_one"),
    [
        (CHINESE, "CN", "national_id", True),
        (CHINESE.lower(), "CN", "national_id", True),
        ("110105194912310021", "CN", "national_id", False),
        ("11010519491231002", "CN", "national_id", False),
        ("K123", "DE", "passport", False),
        ("ABCDEFGH", "DE", "passport", False),
        ("K1234567<", "DE", "passport", False),
        ("\u0391\u0392123456", "GR", "national_id", True),
        ("", "DE", "national_id", False),
        ("1" * 31, "DE", "national_id", False),
    ],
)
def test_number__checked_for_its_type(text: str, country: str, id_type: str, is_one: bool) -> None:
    found = read_identity_number(text, country=country, id_type=id_type)

    assert (found is not None) == is_one
    if found is not None:
        assert text[2:8] not in repr(found)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ([{"share_pct": "9.99"}], "shares_wrong"),
        ([{"share_pct": None, "role": "beneficial_owner"}], "shares_wrong"),
        ([{"share_pct": "5", "role": "legal_representative"}], "shares_wrong"),
        ([{"share_pct": "60"}, {"share_pct": "41"}], "shares_wrong"),
        ([{"share_pct": "10"}] * 21, "invalid_type"),
        ([{"id_number": "no"}], "id_number_wrong"),
        ([{"id_number": 12345678}], "id_number_wrong"),
        ([{"id_number": None}], "field_missing"),
        ([{"nationality": "Germany"}], "invalid_type"),
        ([{"owner_id": "x"}, {"owner_id": "x", "share_pct": "10"}], "owner_twice"),
    ],
)
def test_owners__against_a_rule__refused(changes: list[dict[str, object]], code: str) -> None:
    with pytest.raises(ApiError) as caught:
        read_owners([{**OWNER, **change} for change in changes])

    assert caught.value.code == code
    assert "123" not in str(caught.value)


def test_owners__representative_without_a_share__is_one() -> None:
    (owner,) = read_owners([{**OWNER, "role": "legal_representative", "share_pct": None}])

    assert owner.share_bps == 0
    assert OWNER["id_number"] not in repr(owner)


def test_requirements__nothing_filed__lists_everything_that_is_due() -> None:
    found = find_requirements(
        status="pending",
        entity={},
        owner_roles=["beneficial_owner"],
        source={"no_personal_accounts": False},
        documents=["bank_proof", "business_history"],
        decided=[],
    )

    assert found.currently_due == [
        "entity.legal_name",
        "entity.jurisdiction",
        "entity.registration_number",
        "owners.legal_representative",
        "source.source_of_compute",
        "source.providers",
        "source.legal_basis",
        "source.contract_holder",
        "source.no_personal_accounts",
        "documents.business_license",
        "documents.tax_clearance",
    ]
