"""A deployment that is well: chain, ledger, settings, secrets. Tests break one thing of it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from contracts.deployment import Deployment
from scripts.doctor.all_checks import ALL_CHECKS
from scripts.doctor.examination import Level, Reported, examine
from scripts.doctor.patient import Patient
from scripts.stack.ports import free_port
from tests.support.http_fakes import LyingNode, SetUpstream
from tests.support.keepers import Stage, write_record
from tests.support.waiting import LIMIT_S

MODELS = {"data": [{"id": "gpt-4o-mini"}]}
PRICED = '[models."gpt-4o-mini"]\ninput_usd_per_mtok = "0.15"\noutput_usd_per_mtok = "0.60"\n'
PREFIXES = ("INDEXER", "KEEPER", "PROXY", "MARKET")


@dataclass
class Ward:
    """A deployment that is well, and what a test changes of it."""

    stage: Stage
    node: LyingNode
    upstream: SetUpstream
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    backups: Path | None = None
    now_s: float = 0.0

    def write(self, name: str, content: str, mode: int = 0o600) -> Path:
        path = self.folder / name
        path.write_text(content)
        path.chmod(mode)
        return path

    def examine(self, *parts: str) -> list[Reported]:
        checks = [check for check in ALL_CHECKS if not parts or check.part in parts]
        with Patient(
            self.environment, backups=self.backups, now=lambda: self.now_s or time.time()
        ) as patient:
            return list(examine(patient, checks))

    def tell(self, name: str) -> list[tuple[Level, str, str]]:
        """Return level, subject and line that mends, of one check's findings that are not good."""
        return [
            (one.finding.level, one.finding.subject, one.finding.mend)
            for one in self.examine(name.partition(".")[0])
            if one.check == name and one.finding.level is not Level.GOOD
        ]

    def use_ledger(self, url: str) -> None:
        for prefix in PREFIXES:
            self.environment[f"{prefix}_LEDGER_URL"] = url

    def use_record(self, deployment: Deployment) -> None:
        record = write_record(deployment, self.folder)
        for prefix in PREFIXES:
            self.environment[f"{prefix}_DEPLOYMENT_FILE"] = str(record)


@contextmanager
def admit(stage: Stage, tmp_path: Path) -> Iterator[Ward]:
    """Make everything around a stage that a deployment has, and let it be examined."""
    world = stage.world
    keeper = world.accounts["keeper"]
    world.send("admin", world.contracts.payouts.functions.setPayer(keeper.address, True))
    world.anvil.warp_to(max(int(time.time()), world.anvil.now_s() + 1))
    stage.sync()
    with (
        pytest.MonkeyPatch.context() as patch,
        LyingNode(world.anvil.url) as node,
        SetUpstream() as upstream,
    ):
        # Nothing here hangs; on a busy machine what is asked takes its time.
        for module in ("running_checks", "service_checks"):
            patch.setattr(f"scripts.doctor.{module}.TIMEOUT_S", LIMIT_S)
        upstream.answers["/v1/models"] = (200, MODELS)
        ward = Ward(stage, node, upstream, tmp_path)
        record = write_record(world.deployment, tmp_path)
        ledger_url = stage.engine.url.render_as_string(hide_password=False)
        Path(stage.engine.url.database or "").chmod(0o600)
        for prefix in PREFIXES:
            ward.environment[f"{prefix}_RPC_URL"] = node.url
            ward.environment[f"{prefix}_LEDGER_URL"] = ledger_url
            ward.environment[f"{prefix}_DEPLOYMENT_FILE"] = str(record)
        ward.environment |= {
            "KEEPER_PRIVATE_KEY_FILE": str(ward.write("settler", keeper.key.hex())),
            "KEEPER_METRICS_PORT": str(free_port()),
            "INDEXER_METRICS_PORT": str(free_port()),
            "PROXY_KEY_SECRET_FILE": str(ward.write("key_secret", "11aa22bb33cc44dd" * 4)),
            "PROXY_UPSTREAM_URL": f"{upstream.url}/v1",
            "PROXY_PRICES_FILE": str(ward.write("prices.toml", PRICED)),
            "PROXY_METRICS_TOKEN": "token",
            "MARKET_SECRET_FILE": str(ward.write("secret", "99aa88bb77cc66dd" * 4)),
            "MARKET_KMS": f"file:{ward.write('kms', 'first ' + 'ab' * 32)}",
            "MARKET_METRICS_TOKEN": "token",
        }
        yield ward
