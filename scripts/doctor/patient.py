"""What is examined: the settings of every process, and what they lead to, opened once."""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Final, Self, TypeVar

from sqlalchemy import Engine, text
from web3 import Web3

from contracts.bindings import Contracts, bind_contracts
from contracts.chain import open_web3
from contracts.deployment import Deployment, load_deployment
from contracts.errors import CurrentError
from contracts.reader import ChainReader
from contracts.transport import HttpTransport
from indexer.settings import IndexerSettings
from keeper.settings import KeeperSettings
from ledger.database.engine import PostgresLimits, open_engine, read
from market.settings import MarketSettings
from proxy.settings import ProxySettings
from scripts.folder.environment import names_of
from serving.process.settings import ProcessSettings, SettingsInvalid

S = TypeVar("S", bound=ProcessSettings)

CLASSES: Final[Mapping[str, type[ProcessSettings]]] = {
    "indexer": IndexerSettings,
    "keeper": KeeperSettings,
    "proxy": ProxySettings,
    "market": MarketSettings,
}
_PATIENCE: Final = PostgresLimits(connections_max=2, connect_timeout_s=5)


class Absent(Exception):
    """What a check looks at is not there: not configured, or found wrong by another check."""


class Patient:
    """One deployment as this host knows it. A context manager: closes what it opened."""

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        folder: Path | None = None,
        backups: Path | None = None,
        prometheus_url: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """``folder`` is the deployment's, ``backups`` where its backups are; ``now`` this host's
        clock, Unix seconds."""
        self.environment = environment
        self.folder = folder
        self.backups = backups
        self.prometheus_url = prometheus_url
        self.now = now
        self.refusals: dict[str, str] = {}
        """Why the settings of a process could not be read, by process."""
        self.settings: dict[str, ProcessSettings] = {}
        self._closing = ExitStack()
        for name, kind in CLASSES.items():
            own = names_of(environment, str(kind.model_config["env_prefix"]))
            if not own:
                continue
            try:
                self.settings[name] = kind.from_environment(own)
            except SettingsInvalid as error:
                self.refusals[name] = str(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    # ------------------------------------------------------------------------------------- settings

    def find(self, name: str, kind: type[S]) -> S:
        """Return the settings of a process. Raises ``Absent``."""
        found = self.settings.get(name)
        if not isinstance(found, kind):
            raise Absent(name)
        return found

    @property
    def keeper(self) -> KeeperSettings:
        """The keeper's settings. Raises ``Absent``, as the others do."""
        return self.find("keeper", KeeperSettings)

    @property
    def indexer(self) -> IndexerSettings:
        return self.find("indexer", IndexerSettings)

    @property
    def proxy(self) -> ProxySettings:
        return self.find("proxy", ProxySettings)

    @property
    def market(self) -> MarketSettings:
        return self.find("market", MarketSettings)

    # ---------------------------------------------------------------------------------------- parts

    @cached_property
    def deployment(self) -> Deployment:
        """The deployment record. Raises ``Absent`` where none can be read."""
        for settings in self.settings.values():
            try:
                return load_deployment(settings.deployment_file)
            except CurrentError:
                continue
        raise Absent("deployment")

    @cached_property
    def endpoints(self) -> dict[str, list[str]]:
        """The URLs of nodes, each with the processes that use it."""
        found: dict[str, list[str]] = {}
        for name, settings in self.settings.items():
            for url in settings.rpc_urls():
                found.setdefault(url, []).append(name)
        return found

    @cached_property
    def readers(self) -> dict[str, ChainReader]:
        """A reader for each endpoint, by its URL."""
        found = {}
        for url in self.endpoints:
            transport = HttpTransport(url, timeout_s=5.0)
            self._closing.callback(transport.close)
            found[url] = ChainReader(transport)
        return found

    @cached_property
    def good_url(self) -> str:
        """The first endpoint that serves the deployment's chain. Raises ``Absent``."""
        for url, reader in self.readers.items():
            try:
                if reader.fetch_chain_id() == self.deployment.chain_id:
                    return url
            except CurrentError:
                continue
        raise Absent("rpc")

    @cached_property
    def web3(self) -> Web3:
        """A client of ``good_url``."""
        return open_web3(self.good_url)

    @cached_property
    def contracts(self) -> Contracts:
        """The contracts, through ``good_url``."""
        return bind_contracts(self.web3, self.deployment)

    @cached_property
    def ledger_urls(self) -> dict[str, list[str]]:
        """The ledgers' URLs, each with the processes that use it."""
        found: dict[str, list[str]] = {}
        for name, settings in self.settings.items():
            found.setdefault(settings.ledger_url.get_secret_value(), []).append(name)
        return found

    @property
    def engine(self) -> Engine:
        """The ledger. Raises ``Absent`` where there is none, or it does not answer."""
        if self.ledger_refusal is not None:
            raise Absent("ledger")
        return self.opened_engine

    @cached_property
    def ledger_refusal(self) -> str | None:
        """Why the ledger does not answer, asked once; None where it does. Raises ``Absent``."""
        try:
            with read(self.opened_engine) as connection:
                connection.execute(text("SELECT 1"))
        except CurrentError as error:
            return str(error)
        return None

    @cached_property
    def opened_engine(self) -> Engine:
        """The ledger, opened and not changed; it may not answer. Raises ``Absent``."""
        for url in self.ledger_urls:
            engine = open_engine(url, limits=_PATIENCE, sqlite_busy_timeout_ms=2_000)
            if engine.dialect.name == "sqlite" and not Path(engine.url.database or "").is_file():
                # To connect would make an empty file.
                raise Absent("ledger")
            self._closing.callback(engine.dispose)
            return engine
        raise Absent("ledger")

    @property
    def sqlite_path(self) -> Path | None:
        """The ledger's file, None for PostgreSQL. Raises ``Absent`` where there is no ledger."""
        if self.engine.dialect.name != "sqlite":
            return None
        return Path(self.engine.url.database or "")
