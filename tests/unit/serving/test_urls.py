"""Every process refuses a URL that no client can use, and shows no part of it."""

from collections.abc import Mapping
from typing import Final

import pytest

from indexer.settings import IndexerSettings
from keeper.settings import KeeperSettings
from market.settings import MarketSettings
from proxy.settings import ProxySettings
from serving.process.settings import ProcessSettings, SettingsInvalid, is_url

SECRET: Final = "9b1d7c52e0fa4836b7d1c95e2f608a34"
TOKEN: Final = "token-of-the-node"
COMMON: Final = {
    "RPC_URL": "http://127.0.0.1:8545",
    "LEDGER_URL": "sqlite:///ledger.sqlite3",
    "DEPLOYMENT_FILE": "deployments/31337.json",
}
PROCESSES: Final[Mapping[str, tuple[type[ProcessSettings], Mapping[str, str]]]] = {
    "INDEXER": (IndexerSettings, {}),
    "KEEPER": (KeeperSettings, {}),
    "PROXY": (ProxySettings, {"KEY_SECRET": SECRET, "UPSTREAM_URL": "http://127.0.0.1:8080/v1"}),
    "MARKET": (MarketSettings, {"SECRET": SECRET, "KMS": "file:kms"}),
}
SETTINGS: Final = [
    ("INDEXER", "RPC_URL"),
    ("INDEXER", "HEADS_URL"),
    ("KEEPER", "RPC_URL"),
    ("PROXY", "RPC_URL"),
    ("PROXY", "UPSTREAM_URL"),
    ("PROXY", "OTEL_ENDPOINT"),
    ("MARKET", "RPC_URL"),
    ("MARKET", "PUBLIC_URL"),
]
MALFORMED: Final = [
    f"//user:{TOKEN}@h:abc",
    f"//[::1/{TOKEN}",
    f"//h:99999/{TOKEN}",
    f"//h:0/{TOKEN}",
    f"//:8545/{TOKEN}",
    f"//a {TOKEN}",
]


def build(process: str, **changes: str) -> ProcessSettings:
    settings, extra = PROCESSES[process]
    values = {**COMMON, **extra, **changes}
    return settings.from_environment({f"{process}_{key}": value for key, value in values.items()})


@pytest.mark.parametrize(("process", "name"), SETTINGS)
@pytest.mark.parametrize("rest", MALFORMED)
def test_settings__malformed_url__refused_by_name_without_its_token(
    process: str, name: str, rest: str
) -> None:
    scheme = "ws" if name == "HEADS_URL" else "http"
    for url in (f"{scheme}:{rest}", TOKEN, f"ftp://h/{TOKEN}"):
        with pytest.raises(SettingsInvalid, match=name) as caught:
            build(process, **{name: url})
        assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("process", ["INDEXER", "KEEPER"])
def test_settings__several_endpoints__taken_in_order(process: str) -> None:
    settings = build(process, RPC_URL="https://one.example/token http://[::1]:8545")
    assert settings.rpc_urls() == ["https://one.example/token", "http://[::1]:8545"]

    with pytest.raises(SettingsInvalid, match="RPC_URL"):
        build(process, RPC_URL="https://one.example two.example")


@pytest.mark.parametrize("process", ["PROXY", "MARKET"])
def test_settings__several_endpoints_for_a_server__refused(process: str) -> None:
    with pytest.raises(SettingsInvalid, match=f"{process}_RPC_URL"):
        build(process, RPC_URL="https://one.example http://two.example")


@pytest.mark.parametrize(
    "url", ["http://h", "https://user:word@h.example:65535/path?key=1", "http://[::1]:8545/"]
)
def test_is_url__usable__taken(url: str) -> None:
    assert is_url(url)
