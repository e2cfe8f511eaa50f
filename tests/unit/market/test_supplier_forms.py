"""What applicants and suppliers fill in: what is refused, and what is read how."""

from typing import Any

import pytest

from market.suppliers.application_form import read_application
from market.suppliers.emails import read_email
from market.suppliers.fields import Fields
from market.suppliers.mail_texts import TEXTS, render_mail
from market.suppliers.mailing import BACK_OFF_MAX_S, back_off_s
from market.suppliers.passwords import Passwords, read_new_password
from serving.http.errors import ApiError
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
