"""What applicants and suppliers fill in: what is refused, and what is read how."""

from typing import Any

import pytest

from market.suppliers.application_form import read_application
from market.suppliers.emails import read_email
from market.suppliers.fields import Fields
from market.suppliers.kyb_form import read_owners
from market.suppliers.mail_texts import TEXTS, render_mail
from market.suppliers.mailing import BACK_OFF_MAX_S, back_off_s
from market.suppliers.passwords import Passwords, read_new_password
from serving.http.errors import ApiError
from tests.support.kyb import OWNER
from tests.support.suppliers import APPLICATION


@pytest.mark.parametrize(
    "change",
    [
        {"country": "XX"},
        {"country": "Singapore"},
        {"email": "no-at"},
        {"email": "a@b"},
        {"email": "a@b.example\r\nBcc: x@y.example"},
        {"website": "javascript:alert(1)"},
        {"website": "https://user@host.example"},
        {"legal_name": ""},
        {"legal_name": "a\nb"},
        {"legal_name": "\u202eevil"},
        {"legal_name": "x" * 201},
        {"providers": "OpenAI"},
        {"providers": ["a"] * 21},
        {"expected_monthly_tokens": 0},
        {"expected_monthly_tokens": True},
        {"contact_name": None},
        {"source_of_compute": "personal_account"},
        {"surprise": 1},
    ],
    ids=repr,
)
def test_application__field_that_cannot_be__refused(change: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as caught:
        read_application({**APPLICATION, **change})

    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("Ops@Compute.Example", "ops@compute.example"),
        (" a.b+c@supplier.test ", "a.b+c@supplier.test"),
        ("ops@BÜCHER.example", "ops@xn--bcher-kva.example"),
    ],
)
def test_email__spelled_otherwise__is_one_address(sent: str, kept: str) -> None:
    assert read_email(sent) == kept


@pytest.mark.parametrize("name", ["計算股份有限公司", "شرکت محاسبه", "Ґїйж Ющщ", "क्षमता लि."])
def test_text__of_any_script__is_read(name: str) -> None:
    assert Fields({"name": name}, ("name",)).text("name", length_max=200) is not None


@pytest.mark.parametrize(
    ("sent", "bps"), [("10", 1_000), ("9.99", 999), ("33.3", 3_330), ("100.00", 10_000)]
)
def test_share__per_cent__is_exact(sent: str, bps: int) -> None:
    assert Fields({"share": sent}, ("share",)).share_bps("share") == bps


@pytest.mark.parametrize("sent", ["100.01", "-1", "1.234", "1e1", "\u0661", 10, 10.5, "", " 10"])
def test_share__that_is_none__refused(sent: Any) -> None:
    with pytest.raises(ApiError):
        Fields({"share": sent}, ("share",)).share_bps("share")


def make_owner(share_pct: str | None, place: int = 0, **changes: Any) -> dict[str, Any]:
    return {**OWNER, "id_number": f"AB12{place:04d}", "share_pct": share_pct, **changes}


@pytest.mark.parametrize(
    ("owners", "code"),
    [
        ([make_owner("9.99")], "shares_wrong"),
        ([make_owner("0")], "shares_wrong"),
        ([make_owner(None, role="beneficial_owner")], "shares_wrong"),
        ([make_owner("9.99", role="legal_representative")], "shares_wrong"),
        ([make_owner("51"), make_owner("50", 1)], "shares_wrong"),
        ([make_owner("100"), make_owner("10", 1)], "shares_wrong"),
        ([make_owner("33.34", place) for place in range(3)], "shares_wrong"),
        ([make_owner("100.01")], "invalid_type"),
        (
            [make_owner("10", place) for place in range(10)] + [make_owner("0.01", 10)],
            "shares_wrong",
        ),
        ([make_owner(None, n, role="legal_representative") for n in range(21)], "invalid_type"),
        ([make_owner("10", owner_id="a"), make_owner("10", 1, owner_id="a")], "owner_twice"),
        ("Ana", "invalid_type"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(len(value)),
)
def test_owners__that_cannot_be__are_refused(owners: Any, code: str) -> None:
    with pytest.raises(ApiError) as caught:
        read_owners(owners)

    assert (caught.value.status, caught.value.code) == (400, code)


@pytest.mark.parametrize(
    "shares", [["10"], ["10"] * 10, ["33.33", "33.33", "33.34"], ["10", *[None] * 19]], ids=len
)
def test_owners__at_the_bounds__are_read(shares: list[str | None]) -> None:
    owners = [
        make_owner(share, n, **({} if share else {"role": "legal_representative"}))
        for n, share in enumerate(shares)
    ]

    assert len(read_owners(owners)) == len(shares)


@pytest.mark.parametrize("weak", ["short", "aaaaaaaaaaaa", "ops@compute.example", "x" * 257, None])
def test_password__weak__refused(weak: Any) -> None:
    with pytest.raises(ApiError):
        read_new_password(weak, email="ops@compute.example")


async def test_password__hashed__is_argon2id_and_verifies() -> None:
    passwords = Passwords()
    hashed = await passwords.hash("five calm otters")

    assert hashed.startswith("$argon2id$")
    assert await passwords.verify(hashed, "five calm otters")
    assert not await passwords.verify(hashed, "five calm otter")
    assert not await passwords.verify(None, "five calm otters")
    assert not await passwords.verify("not a hash", "five calm otters")
    passwords.close()


@pytest.mark.parametrize("template", TEXTS)
def test_mail__facts_with_markup_and_line_breaks__are_text(template: str) -> None:
    evil = "<b>x</b>\r\nBcc: y {{ 7*7 }}"
    names = ("legal_name", "role", "network", "address", "net", "asset", "tx_hash", "payout_id")
    facts = {**dict.fromkeys(names, evil), "items": [evil], "is_on": True, "hours": 48}

    mail = render_mail(template, facts, public_url="https://m.test", token="T0ken")

    assert "\n" not in mail.subject
    assert "<b>" not in mail.html
    assert "49" not in mail.text
    assert "\nBcc" not in mail.text


def test_mail__not_taken__waits_longer_each_time_up_to_an_hour() -> None:
    waits_s = [back_off_s(tries) for tries in range(1, 200)]

    assert waits_s[:3] == [30, 60, 120]
    assert waits_s == sorted(waits_s)
    assert waits_s[-1] == BACK_OFF_MAX_S == 3_600
