"""What both servers take as a secret that signs, and several of them at once."""

from collections.abc import Mapping
from typing import Final

import pytest

from market.settings import MarketSettings
from proxy.settings import ProxySettings
from serving.process.settings import ProcessSettings, SettingsInvalid

SECRET: Final = "9b1d7c52e0fa4836b7d1c95e2f608a34"
OLDER: Final = SECRET[::-1]
COMMON: Final = {
    "RPC_URL": "http://127.0.0.1:8545",
    "LEDGER_URL": "sqlite:///ledger.sqlite3",
    "DEPLOYMENT_FILE": "deployments/31337.json",
}
SERVERS: Final[Mapping[str, tuple[type[ProcessSettings], str, str, Mapping[str, str]]]] = {
    "proxy": (
        ProxySettings,
        "PROXY_KEY_SECRET",
        "PROXY_KEY_SECRETS_PREVIOUS",
        {"PROXY_UPSTREAM_URL": "http://127.0.0.1:8080/v1"},
    ),
    "market": (
        MarketSettings,
        "MARKET_SECRET",
        "MARKET_SECRETS_PREVIOUS",
        {"MARKET_KMS": "file:kms"},
    ),
}


def build(server: str, current: str, previous: str = "") -> tuple[bytes, ...]:
    """Return the live secrets by a process's environment."""
    settings, name, older, extra = SERVERS[server]
    prefix = name.split("_")[0]
    environment = {f"{prefix}_{key}": value for key, value in COMMON.items()}
    built = settings.from_environment({**environment, **extra, name: current, older: previous})
    assert current not in repr(built)
    assert isinstance(built, ProxySettings | MarketSettings)
    return built.key_secrets() if isinstance(built, ProxySettings) else built.list_secrets()


@pytest.fixture(params=list(SERVERS))
def server(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_secrets__several__the_new_one_comes_first(server: str) -> None:
    assert build(server, SECRET) == (SECRET.encode(),)
    expected = (SECRET.encode(), OLDER.encode(), SECRET.swapcase().encode())
    assert build(server, SECRET, f"{OLDER},\n{SECRET.swapcase()}") == expected


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "short",
        "a" * 64,
        "abcabcabc" * 8,
        "change-me-change-me-change-me-0123456789",
        "CHANGEME" + SECRET,
        "my-secret-" + SECRET,
        "Password-" + SECRET,
        "example-" + SECRET,
        f"{SECRET} {OLDER}",
        f"{SECRET},{OLDER}",
        SECRET[:31],
    ],
)
def test_secrets__placeholder_or_weak__refused_and_not_shown(server: str, secret: str) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        build(server, secret)
    assert SERVERS[server][1] in str(caught.value)
    assert len(secret) < 10 or secret not in str(caught.value)
    if secret.strip() and "," not in secret and " " not in secret:
        with pytest.raises(SettingsInvalid) as caught:
            build(server, SECRET, f"{OLDER} {secret}")
        assert SERVERS[server][2] in str(caught.value)
