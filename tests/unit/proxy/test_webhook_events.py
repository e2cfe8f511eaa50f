"""What owners are told: each change once, in order; and that only they can have been told it."""

from base64 import b64encode
from dataclasses import replace
from typing import Any

import pytest

from proxy.webhooks.happenings import (
    CAPPED,
    HARVESTED,
    LOW,
    REVOKED,
    Now,
    decide,
    look,
    read_seen,
)
from proxy.webhooks.signing import open_secret, read_secret, seal_secret, show_secret, sign
from serving.process.aes_gcm import SealBroken

NOW = Now(
    credited_usdc=1_000_000,
    key_epoch=0,
    now_s=100 * 86_400,
    revoked={},
    unspent_usdc=800_000,
    today_left_usdc=100_000,
    today_cap_usdc=200_000,
    day=100,
    resets_at="tomorrow",
)
LOW_USDC = 500_000


def tell(*moments: Now) -> list[list[str]]:
    """Return what is told at each moment after the first."""
    seen, told = look(moments[0], low_usdc=LOW_USDC), []
    for moment in moments[1:]:
        happenings, seen = decide(seen, moment, low_usdc=LOW_USDC)
        told.append([one.kind for one in happenings])
        assert read_seen(seen.write()) == seen
    return told


def test_first_look__tells_nothing_of_what_was_before() -> None:
    dire = replace(NOW, unspent_usdc=0, today_left_usdc=0, revoked={"a": 1}, key_epoch=3)
    assert tell(dire, dire) == [[]]


def test_harvest__says_how_much__and_a_spend_is_none() -> None:
    more = replace(NOW, credited_usdc=1_250_000)
    happenings, _ = decide(look(NOW, low_usdc=LOW_USDC), more, low_usdc=LOW_USDC)
    assert [one.data for one in happenings] == [
        {"credited_usdc": 250_000, "credited_in_all_usdc": 1_250_000}
    ]
    assert tell(NOW, replace(NOW, unspent_usdc=700_000)) == [[]]


def test_low__told_on_the_way_down__and_again_only_after_it_was_not() -> None:
    low = replace(NOW, unspent_usdc=499_999)
    assert tell(NOW, low, low, NOW, low) == [[LOW], [], [], [LOW]]
    assert tell(NOW, replace(NOW, unspent_usdc=500_000)) == [[]]


def test_cap__told_once_a_day() -> None:
    capped = replace(NOW, today_left_usdc=1_999)
    assert tell(NOW, capped, NOW, capped, replace(capped, day=101)) == [[CAPPED], [], [], [CAPPED]]
    assert tell(NOW, replace(NOW, today_left_usdc=2_000)) == [[]]


@pytest.mark.parametrize(
    "spent", [{"unspent_usdc": 0, "today_left_usdc": 0}, {"today_cap_usdc": 0}]
)
def test_cap__nothing_left_at_all__is_not_the_cap(spent: dict[str, Any]) -> None:
    assert CAPPED not in tell(NOW, replace(NOW, **spent))[0]


def test_keys__a_child_and_all__are_told_with_their_ids() -> None:
    at_s = NOW.now_s
    seen = look(replace(NOW, revoked={"a": at_s}), low_usdc=LOW_USDC)
    now = replace(NOW, revoked={"a": at_s, "b": at_s + 1, "c": at_s + 2}, key_epoch=1)
    happenings, _ = decide(seen, now, low_usdc=LOW_USDC)
    assert [(one.kind, one.data["keys"]) for one in happenings] == [
        (REVOKED, "all"),
        (REVOKED, ["b", "c"]),
    ]


def test_keys__revoked_in_one_second_with_a_look_between__each_is_told_by_its_own_id() -> None:
    at_s, told = NOW.now_s, []
    seen = look(NOW, low_usdc=LOW_USDC)
    # The order within the second is that of the ids: the later one comes first.
    for revoked in ({"b": at_s}, {"a": at_s, "b": at_s}, {"a": at_s, "b": at_s}):
        now = replace(NOW, revoked=revoked)
        happenings, seen = decide(read_seen(seen.write()), now, low_usdc=LOW_USDC)
        told.append([one.data["keys"] for one in happenings])
    assert told == [[["b"]], [["a"]], []]


def test_keys__told_long_ago__are_not_kept() -> None:
    revoked = {str(hour): NOW.now_s + hour * 3_600 for hour in range(50)}
    seen, told = look(NOW, low_usdc=LOW_USDC), []
    for key_id, at_s in revoked.items():
        fresh = {one: when for one, when in revoked.items() if seen.revoked_since_s < when <= at_s}
        now = replace(NOW, now_s=at_s, revoked=fresh)
        happenings, seen = decide(seen, now, low_usdc=LOW_USDC)
        told += [one.data["keys"] for one in happenings]
        assert len(seen.children_revoked) <= 2, key_id
    assert told == [[key_id] for key_id in revoked]


def test_reorganised_chain__what_comes_again_is_told_again() -> None:
    more = replace(NOW, credited_usdc=1_250_000, key_epoch=1)
    assert tell(NOW, more, NOW, more) == [[HARVESTED, REVOKED], [], [HARVESTED, REVOKED]]


# --------------------------------------------------------------------------------------- signing


def test_sign__the_specifications_own_example() -> None:
    # From the Standard Webhooks specification.
    secret = read_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = sign(
        [secret],
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp_s=1_614_265_330,
        body=b'{"test": 2432232314}',
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert headers["webhook-timestamp"] == "1614265330"


def test_sign__two_secrets__two_signatures() -> None:
    both = sign([b"a", b"b"], message_id="m", timestamp_s=1, body=b"{}")["webhook-signature"]
    alone = sign([b"b"], message_id="m", timestamp_s=1, body=b"{}")["webhook-signature"]
    assert len(both.split()) == 2
    assert alone in both.split()


def test_secret__sealed__opens_by_older_secrets_of_the_server_and_for_its_webhook_alone() -> None:
    sealed = seal_secret(b"s" * 32, key_secrets=[b"old"], webhook_id="w")
    assert b"s" * 8 not in sealed
    assert open_secret(sealed, key_secrets=[b"new", b"old"], webhook_id="w") == b"s" * 32
    for key_secrets, webhook_id in (([b"new"], "w"), ([b"old"], "other")):
        with pytest.raises(SealBroken):
            open_secret(sealed, key_secrets=key_secrets, webhook_id=webhook_id)


def test_secret__shown__is_read_back() -> None:
    assert show_secret(b"s" * 32) == "whsec_" + b64encode(b"s" * 32).decode()
    assert read_secret(show_secret(b"s" * 32)) == b"s" * 32
