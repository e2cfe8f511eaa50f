"""The proxy's settings: what is refused, and that no secret is shown."""

from typing import Any

import pytest

from market.settings import MarketSettings
from proxy.settings import ProxySettings
from serving.process.settings import SettingsInvalid

SECRET = "9b1d7c52e0fa4836b7d1c95e2f608a34"
ENVIRONMENT = {
    "PROXY_RPC_URL": "http://127.0.0.1:8545",
    "PROXY_LEDGER_URL": "sqlite:///ledger.sqlite3",
    "PROXY_DEPLOYMENT_FILE": "deployments/31337.json",
    "PROXY_KEY_SECRET": SECRET,
    "PROXY_UPSTREAM_URL": "http://127.0.0.1:8080/v1/",
    "KEEPER_PRIVATE_KEY": "not ours",
}


def build(**changes: str) -> ProxySettings:
    return ProxySettings.from_environment({**ENVIRONMENT, **changes})


def test_settings__minimal_environment__has_defaults_that_agree() -> None:
    settings = build()

    assert settings.upstream_url.get_secret_value() == "http://127.0.0.1:8080/v1"
    assert settings.hold_margin_s >= settings.lease_s > settings.upstream_timeout_s
    assert settings.key_secrets() == (SECRET.encode(),)


def test_settings__several_secrets__the_new_one_signs() -> None:
    settings = build(PROXY_KEY_SECRETS_PREVIOUS=f"{SECRET[::-1]}\n{SECRET.swapcase()}")

    assert settings.key_secrets() == tuple(
        secret.encode() for secret in (SECRET, SECRET[::-1], SECRET.swapcase())
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"PROXY_HOST": "0.0.0.0", "PROXY_DOMAIN": "pay.example"},
        {"PROXY_HOST": "localhost"},
        {"PROXY_HOST": "::1"},
    ],
)
def test_settings__public_host_with_a_domain_or_loopback__are_taken(
    changes: dict[str, str],
) -> None:
    assert build(**changes).get_domain()


@pytest.mark.parametrize(
    "changes",
    [
        {"PROXY_KEY_SECRET": "short"},
        {"PROXY_KEY_SECRET": "a" * 64},
        {"PROXY_KEY_SECRET": "change-me-change-me-change-me-0123456789"},
        {"PROXY_KEY_SECRET": f"{SECRET} {SECRET}"},
        {"PROXY_KEY_SECRETS_PREVIOUS": "short"},
        {"PROXY_UPSTREAM_URL": "127.0.0.1:8080"},
        {"PROXY_UPSTREAM_TIMOUT_S": "5"},
        {"PROXY_LEASE_S": "100"},
        {"PROXY_UPSTREAM_TIMEOUT_S": "300"},
        {"PROXY_HOLD_MARGIN_S": "100"},
        {"PROXY_PORT": "70000"},
        {"PROXY_TRUSTED_PROXIES": "10.0.0.1/"},
        {"PROXY_DOMAIN": "https://pay.example"},
        {"PROXY_HOST": "0.0.0.0"},
        {"PROXY_HOST": "::"},
        {"PROXY_HOST": "203.0.113.5"},
        {"PROXY_HOST": "pay.example"},
    ],
)
def test_settings__wrong__refused_without_showing_values(changes: dict[str, str]) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        build(**changes)

    [value] = changes.values()
    assert len(value) < 10 or value not in str(caught.value)


def test_settings__missing_secret__refused() -> None:
    environment: dict[str, Any] = {**ENVIRONMENT}
    del environment["PROXY_KEY_SECRET"]

    with pytest.raises(SettingsInvalid, match="PROXY_KEY_SECRET"):
        ProxySettings.from_environment(environment)


def test_settings__repr__shows_no_secret() -> None:
    assert SECRET not in repr(build())


def test_defaults__an_answer_of_the_markets_limit_with_its_usage__fits_the_proxy() -> None:
    proxy_max = ProxySettings.model_fields["upstream_body_bytes_max"].default
    market_max = MarketSettings.model_fields["answer_bytes_max"].default
    assert proxy_max - market_max >= 64 * 1024, "the market adds the usage that it charges"
