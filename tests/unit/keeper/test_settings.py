"""The keeper's settings: refused when they do not fit, and silent about the key."""

from pathlib import Path

import pytest

from keeper.settings import KeeperSettings
from serving.process.settings import SettingsInvalid

KEY = "0x" + "4c" * 32
BASE = {
    "KEEPER_RPC_URL": "http://127.0.0.1:8545",
    "KEEPER_LEDGER_URL": "sqlite:///ledger.sqlite3",
    "KEEPER_DEPLOYMENT_FILE": "deployments/31337.json",
}


def make_settings(**changes: str) -> KeeperSettings:
    environment = {f"KEEPER_{name.upper()}": value for name, value in changes.items()}
    return KeeperSettings.from_environment({**BASE, "HOME": "/", **environment})


def test_from_environment__least__has_defaults_and_no_key() -> None:
    settings = make_settings()

    assert settings.private_key is None
    assert settings.rules().hold_lifetime_s == 7_200
    assert settings.send_rules().fees.fee_wei_max == settings.fee_wei_max


def test_from_environment__key__appears_nowhere() -> None:
    settings = make_settings(private_key=KEY)

    assert settings.private_key is not None
    assert settings.private_key.get_secret_value() == KEY
    assert "4c4c" not in repr(settings) + str(settings) + str(settings.model_dump())


def test_from_environment__key_in_a_file__is_read(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(KEY + "\n")

    settings = make_settings(private_key_file=str(path))

    assert settings.private_key is not None
    assert settings.private_key.get_secret_value() == KEY


@pytest.mark.parametrize(
    "changes",
    [
        {"unknown": "1"},
        {"private_key": "0x4c4c4c4c"},
        {"private_key": KEY, "private_key_file": "key"},
        {"private_key_file": "/nowhere/at/all"},
        {"address": "0x12"},
        {"poll_interval_s": "0"},
        {"harvest_min_usdc": "9999"},
        {"hold_lifetime_s": str(25 * 3_600)},
        {"harvest_items_max": "42"},
    ],
)
def test_from_environment__wrong__is_refused_without_showing_it(changes: dict[str, str]) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        make_settings(**changes)

    assert "4c4c" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "has_key"),
    [
        ({}, False),
        ({"private_key": KEY}, True),
        ({"keyfile": "key.json", "keyfile_password": "horse"}, True),
        ({"kms_key_id": "alias/settler"}, True),
        ({"private_key": KEY, "kms_key_id": "alias/settler"}, None),
        ({"private_key": KEY, "keyfile": "key.json", "keyfile_password": "horse"}, None),
        ({"keyfile": "key.json"}, None),
        ({"keyfile_password": "horse"}, None),
    ],
)
def test_from_environment__keys__one_at_most(changes: dict[str, str], has_key: bool | None) -> None:
    if has_key is None:
        with pytest.raises(SettingsInvalid) as refused:
            make_settings(**changes)
        assert "4c4c" not in str(refused.value)
        assert "horse" not in str(refused.value)
        return
    settings = make_settings(**changes)
    assert settings.has_key is has_key
    assert "horse" not in repr(settings) + str(settings.model_dump())


def test_from_environment__several_endpoints__are_told_apart_and_not_shown() -> None:
    settings = make_settings(rpc_url="https://one.example/token-1 http://two.example")

    assert settings.rpc_urls() == ["https://one.example/token-1", "http://two.example"]
    assert "token-1" not in repr(settings)


@pytest.mark.parametrize("rpc_url", ["", "  ", "ws://one.example", "https://one.example two"])
def test_from_environment__no_endpoints__is_refused(rpc_url: str) -> None:
    with pytest.raises(SettingsInvalid):
        make_settings(rpc_url=rpc_url)


@pytest.mark.parametrize(
    "changes",
    [
        {"give_up_blocks": "1"},
        {"hold_renew_before_s": "7200"},
        {"settle_in_use_before_s": "2700"},
        {"settle_before_expiry_s": "7200"},
        {"settle_landing_s": "600"},
        {"tip_wei": "3000000000"},
        {"tip_wei_max": "60000000000"},
    ],
)
def test_from_environment__times_or_fees_out_of_order__is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(SettingsInvalid):
        make_settings(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"payments_private_key": "0x12"},
        {"payments_private_key": "11" * 32, "payments_kms_key_id": "alias/payer"},
        {"payments_keyfile": "/nowhere.json"},
    ],
)
def test_from_environment__payments_key_is_no_key_or_in_two_places__is_refused(
    changes: dict[str, str],
) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        make_settings(private_key="22" * 32, **changes)

    assert "11" * 32 not in str(refused.value)


def test_from_environment__payments_key_alone__is_refused() -> None:
    with pytest.raises(SettingsInvalid):
        make_settings(payments_private_key="11" * 32)


def test_from_environment__payments_key_beside_the_settlers__is_kept_secret() -> None:
    settings = make_settings(private_key="22" * 32, payments_private_key="11" * 32)

    assert settings.payments_key().is_set
    assert "11" * 32 not in repr(settings)
    assert "11" * 32 not in repr(settings.payments_key())
