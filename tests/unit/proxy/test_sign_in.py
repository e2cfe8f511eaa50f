"""Sign-in nonces and messages: what is ours and for now passes, all else says why not."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from contracts.siwe import LIFETIME_S, SiweInvalid, build_siwe
from proxy.keys.sign_in import STATEMENT, SignIn

NOW_S: Final = 1_800_000_000
SECRET, OLDER = b"0123456789abcdef0123456789abcdef", b"fedcba9876543210fedcba9876543210"
OURS: Final = SignIn([SECRET], "pay.example:8402", 31337, "0x" + "A1" * 20)
ADDRESS: Final = "0x" + "11" * 20


def message(ours: SignIn = OURS, **changes: Any) -> str:
    fields: dict[str, Any] = {
        "domain": ours.domain,
        "address": ADDRESS,
        "statement": STATEMENT,
        "uri": ours.uri,
        "chain_id": ours.chain_id,
        "nonce": OURS.build_nonce(now_s=NOW_S),
        "issued_at": datetime.fromtimestamp(NOW_S, UTC),
        "resources": [ours.get_resource(7)],
        **changes,
    }
    return build_siwe(**fields)


def test_read__as_described__says_whose_and_until_when() -> None:
    read, token_id, expires_at_s = OURS.read_message(message(), now_s=NOW_S + 1)
    assert (read.address, token_id, expires_at_s) == (ADDRESS, 7, NOW_S + LIFETIME_S)


def test_describe__template_filled_in__is_read() -> None:
    said = OURS.describe(7, now_s=NOW_S)
    at = datetime.fromtimestamp(NOW_S, UTC).isoformat()
    text = said["template"].replace("<address>", ADDRESS).replace("<time>", at)
    read, token_id, _ = OURS.read_message(text, now_s=NOW_S)
    assert (read.nonce, token_id) == (said["nonce"], 7)
    assert OURS.describe(None, now_s=NOW_S)["resources"][0].endswith("a1/<tokenId>")


@pytest.mark.parametrize(
    ("changes", "now_s", "says"),
    [
        ({"domain": "evil.example"}, NOW_S, "is for 'evil.example'"),
        ({"uri": "https://evil.example"}, NOW_S, "URI"),
        ({"chain_id": 1}, NOW_S, "chain 1"),
        ({"nonce": "0" * 68}, NOW_S, "nonce"),
        ({"nonce": "abcdefgh"}, NOW_S, "nonce"),
        ({}, NOW_S + LIFETIME_S, "expired"),
        ({"issued_at": datetime.fromtimestamp(NOW_S + 250, UTC)}, NOW_S + 300, "nonce"),
        ({"resources": []}, NOW_S, "one resource"),
        ({"resources": [OURS.get_resource(7), OURS.get_resource(8)]}, NOW_S, "one resource"),
        ({"resources": ["eip155:1:0x" + "a1" * 20 + "/7"]}, NOW_S, "one resource"),
        ({"resources": ["eip155:31337:0x" + "a2" * 20 + "/7"]}, NOW_S, "one resource"),
        ({"resources": [OURS.get_resource(7) + "0x"]}, NOW_S, "one resource"),
        ({"resources": [f"eip155:31337:0x{'a1' * 20}/07"]}, NOW_S, "one resource"),
        ({"resources": [f"eip155:31337:0x{'a1' * 20}/{2**63}"]}, NOW_S, "one resource"),
    ],
)
def test_read__for_another_or_not_for_now__refused(
    changes: dict[str, Any], now_s: int, says: str
) -> None:
    with pytest.raises(SiweInvalid, match=says):
        OURS.read_message(message(**changes), now_s=now_s)


def test_nonce__of_an_older_secret__is_good_and_of_another_is_not() -> None:
    nonce = replace(OURS, secrets=[OLDER]).build_nonce(now_s=NOW_S)

    assert replace(OURS, secrets=[SECRET, OLDER]).read_nonce(nonce, now_s=NOW_S) is not None
    assert OURS.read_nonce(nonce, now_s=NOW_S) is None


def test_nonce__any_digit_changed__is_not_ours() -> None:
    nonce = OURS.build_nonce(now_s=NOW_S)
    for at, digit in enumerate(nonce):
        changed = nonce[:at] + ("1" if digit == "0" else "0") + nonce[at + 1 :]
        assert OURS.read_nonce(changed, now_s=NOW_S) is None
    assert OURS.read_nonce(nonce.upper() + "\n", now_s=NOW_S) is None


@pytest.mark.parametrize(
    ("domain", "uri"),
    [
        ("localhost:5173", "http://localhost:5173"),
        ("127.0.0.1:8402", "http://127.0.0.1:8402"),
        ("[::1]:8402", "http://[::1]:8402"),
        ("pay.example", "https://pay.example"),
    ],
)
def test_uri__plain_http_on_this_machine_only(domain: str, uri: str) -> None:
    assert replace(OURS, domain=domain).uri == uri


def test_nonce__lifetime_of_hours__is_good_for_as_long() -> None:
    patient = replace(OURS, nonce_lifetime_s=7_200)
    said = patient.describe(7, now_s=NOW_S)
    nonce = str(said["nonce"])

    assert said["expires_at_s"] == NOW_S + 7_200
    assert patient.read_nonce(nonce, now_s=NOW_S + 7_199) == NOW_S + 7_200
    assert patient.read_nonce(nonce, now_s=NOW_S + 7_200) is None
