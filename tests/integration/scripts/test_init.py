"""``current init``: a folder from which all processes run, each file held against what reads it.

::

    settings and secrets     every process's own class accepts them; secrets are the owner's only
    made again               nothing that is there changes, what lacks comes back
    units                    systemd accepts them; exit code 2 is not started again
    balancers                bounds and waits are not below the servers' own
    monitoring               every metric and label that rules and dashboard name is in the code
    run                      a command with the folder's settings
    asked without a terminal a sentence and exit 2
"""

import json
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from prometheus_client import CollectorRegistry, generate_latest

from indexer.health import Health
from indexer.metrics import build_registry
from keeper.metrics import KeeperMetrics
from keeper.settings import KeeperSettings
from market.metrics import Metrics as MarketMetrics
from market.settings import MarketSettings
from proxy.metrics import Metrics as ProxyMetrics
from proxy.settings import ProxySettings
from scripts.cli import commands
from scripts.doctor.all_checks import ALL_CHECKS
from scripts.doctor.examination import examine
from scripts.doctor.patient import CLASSES, Patient
from scripts.folder.environment import load_environment
from scripts.stack.anvil_path import ROOT
from serving.process.settings import SettingsInvalid
from tests.support.keepers import write_record
from tests.support.ledgers import DEPLOYMENT

WORDS = (
    "--domain", "ai.example", "--market-domain", "market.example",
    "--rpc-url", "http://a.example/token", "--rpc-url", "http://b.example",
    "--heads-url", "wss://a.example",
)  # fmt: skip
METRIC = re.compile(r"\bcurrent_[a-z0-9_]+")
FUNCTIONS_OF_PROMETHEUS = ("_bucket", "_total", "_count", "_sum", "_created")


def make(folder: Path, *words: str) -> Any:
    record = write_record(DEPLOYMENT, folder.parent)
    given = ["init", str(folder), *WORDS, "--deployment-file", str(record)]
    given += ["--ledger-url", f"sqlite:///{folder.parent / 'ledger.sqlite3'}", *words]
    made = CliRunner(mix_stderr=False).invoke(commands, given)
    assert made.exit_code == 0, made.stderr
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "current"
    make(folder)
    return folder


def list_files(folder: Path) -> dict[Path, str]:
    return {path: path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_settings__of_each_process__are_what_its_class_takes(folder: Path) -> None:
    environment = load_environment(folder)

    read = {name: kind.from_environment(environment) for name, kind in CLASSES.items()}

    proxy = read["proxy"]
    assert isinstance(proxy, ProxySettings)
    assert proxy.get_domain() == "ai.example"
    assert len(read["keeper"].rpc_urls()) == 2


def test_secrets__one_that_is_filled_in_later__is_handed_over_without_a_new_unit(
    folder: Path,
) -> None:
    old, path = "11aa22bb33cc44dd" * 4, folder / "secrets" / "PROXY_KEY_SECRETS_PREVIOUS"
    assert path.read_text() == ""
    unit = (folder / "systemd" / "current-proxy.service").read_text()

    path.write_text(f"{old}\n")

    assert f"LoadCredential={path.name}:{path}" in unit
    proxy = CLASSES["proxy"].from_environment(load_environment(folder))
    assert isinstance(proxy, ProxySettings)
    assert proxy.key_secrets()[1:] == (old.encode(),)


def test_secrets__empty__are_none(folder: Path) -> None:
    keeper = CLASSES["keeper"].from_environment(load_environment(folder))
    assert isinstance(keeper, KeeperSettings)
    assert not keeper.payments_key().is_set
    (folder / "secrets" / "KEEPER_PRIVATE_KEY").write_text("")
    (folder / "secrets" / "PROXY_KEY_SECRET").write_text("\n")

    keeper = CLASSES["keeper"].from_environment(load_environment(folder))
    assert isinstance(keeper, KeeperSettings)
    assert not keeper.has_key
    with pytest.raises(SettingsInvalid, match="not set: PROXY_KEY_SECRET"):
        CLASSES["proxy"].from_environment(load_environment(folder))


def test_made_again__where_the_keepers_key_is_elsewhere__says_no_address(folder: Path) -> None:
    first = make(folder)
    (folder / "secrets" / "KEEPER_PRIVATE_KEY").write_text("")

    again = make(folder)

    assert "The keeper's address is 0x" in first.stdout
    assert "The keeper's address" not in again.stdout
    assert (folder / "secrets" / "KEEPER_PRIVATE_KEY").read_text() == ""


def test_settings__every_name__is_one_of_a_class(folder: Path) -> None:
    known = {
        f"{kind.model_config['env_prefix']}{field.upper()}"
        for kind in CLASSES.values()
        for field in kind.model_fields
    }
    named = {name.removesuffix("_FILE") if "DEPLOYMENT" not in name else name
             for name in load_environment(folder)}  # fmt: skip

    assert named - known == set()


def test_secrets__are_random_and_nobody_elses(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    make(other)
    secrets = {path.name: path.read_text() for path in (folder / "secrets").iterdir()}

    for path in [*(folder / "secrets").iterdir(), *(folder / "kms").iterdir()]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    for name in ("KEEPER_PRIVATE_KEY", "PROXY_KEY_SECRET", "MARKET_SECRET", "PROXY_METRICS_TOKEN"):
        assert secrets[name] != (other / "secrets" / name).read_text()
    # A node's URL holds a token.
    public = [text for path, text in list_files(folder).items() if path.parent.name != "secrets"]
    assert not any("a.example/token" in text for text in public)


def test_made_again__keeps_what_is_there_and_adds_what_lacks(folder: Path) -> None:
    (folder / "env" / "proxy.env").write_text("# mine\n")
    (folder / "nginx" / "current.conf").unlink()
    before = list_files(folder)

    made = make(folder)

    after = list_files(folder)
    assert {path for path in after if path not in before} == {folder / "nginx" / "current.conf"}
    assert {path: after[path] for path in before} == before
    assert made.stdout.count("made  ") == 1


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_units__systemd_accepts_them(folder: Path) -> None:
    units = [str(path) for path in sorted((folder / "systemd").iterdir())]
    assert len(units) == 11

    verified = subprocess.run(
        ["systemd-analyze", "verify", *units], capture_output=True, text=True, timeout=120
    )

    assert (verified.returncode, verified.stderr) == (0, "")


def test_units__name_every_secret_and_end_where_a_person_must_act(folder: Path) -> None:
    named: set[str] = set()
    for path in (folder / "systemd").glob("current-*.service"):
        text = path.read_text()
        named |= set(re.findall(r"^LoadCredential=(\w+):", text, re.M))
        if "Type=simple" in text:
            assert "RestartPreventExitStatus=2" in text
            assert "StartLimitIntervalSec=0" in text

    assert named == {path.name for path in (folder / "secrets").iterdir()}


def test_units__several_proxies__each_has_a_port_and_the_balancers_know_it(tmp_path: Path) -> None:
    folder = tmp_path / "current"
    make(folder, "--proxies", "3", "--ledger-url", "postgresql+psycopg://u@h/l")

    services = sorted((folder / "systemd").glob("current-proxy*.service"))
    ports = [
        re.findall(r"^Environment=PROXY_PORT=(\d+)", path.read_text(), re.M) for path in services
    ]
    assert sorted(port for (port,) in ports) == ["8402", "8410", "8411"]
    for name in ("nginx/current.conf", "caddy/Caddyfile", "prometheus/scrape.yml"):
        text = (folder / name).read_text()
        assert all(f"127.0.0.1:{port}" in text for (port,) in ports)


@pytest.mark.parametrize("name", ["nginx/current.conf", "caddy/Caddyfile"])
def test_balancers__braces_are_balanced(folder: Path, name: str) -> None:
    lines = [line.partition("#")[0] for line in (folder / name).read_text().splitlines()]
    text = "\n".join(lines)

    assert text.count("{") == text.count("}") > 5


@pytest.mark.skipif(shutil.which("nginx") is None, reason="no nginx")
def test_nginx__accepts_its_configuration(folder: Path) -> None:
    text = (folder / "nginx" / "current.conf").read_text()
    # Only what names certificates goes: they are not here.
    without = re.sub(r"^\s*(ssl_certificate|listen .*443).*$", "", text, flags=re.M)
    whole = f"events {{}}\nhttp {{\n{without}\n}}\n"
    (folder / "nginx" / "whole.conf").write_text(whole)

    tested = subprocess.run(["nginx", "-t", "-c", str(folder / "nginx" / "whole.conf")])

    assert tested.returncode == 0


def test_balancers__bounds__are_not_below_the_servers_own(folder: Path) -> None:
    text = (folder / "nginx" / "current.conf").read_text()
    proxy = CLASSES["proxy"].from_environment(load_environment(folder))
    market = CLASSES["market"].from_environment(load_environment(folder))
    assert isinstance(proxy, ProxySettings)
    assert isinstance(market, MarketSettings)

    bodies = [int(size) * 1024**2 for size in re.findall(r"client_max_body_size (\d+)m;", text)]
    waits_s = [int(wait) for wait in re.findall(r"proxy_read_timeout (\d+)s;", text)]
    assert bodies[0] >= proxy.body_bytes_max
    assert bodies[1] >= market.upload_bytes_max
    assert min(waits_s) > max(proxy.stream_timeout_s, proxy.upstream_timeout_s)
    assert text.count("proxy_buffering off;") == 2
    assert "proxy_set_header X-Forwarded-For $remote_addr;" in text


def list_metrics() -> set[str]:
    """Return the name of every metric that a process of ours shows."""
    registries: list[CollectorRegistry] = [
        KeeperMetrics().registry,
        build_registry(Health(), clock=lambda: 0.0),
        ProxyMetrics().registry,
        MarketMetrics().registry,
    ]
    text = "".join(generate_latest(registry).decode() for registry in registries)
    return set(re.findall(r"^# TYPE (current_\w+)", text, re.M))


def test_monitoring__every_metric_that_is_named__is_one_of_the_code(folder: Path) -> None:
    dashboard = json.loads((folder / "grafana" / "current.json").read_text())
    rules = yaml.safe_load((folder / "prometheus" / "rules.yml").read_text())
    expressions = [
        target["expr"] for panel in dashboard["panels"] for target in panel["targets"]
    ] + [rule["expr"] for group in rules["groups"] for rule in group["rules"]]

    known, named = list_metrics(), set(METRIC.findall(" ".join(expressions)))
    plain = {
        next(
            (name.removesuffix(end) for end in FUNCTIONS_OF_PROMETHEUS if name.endswith(end)), name
        )
        for name in named
    }
    assert len(named) > 20
    assert {name for name in plain if name not in known and f"{name}_total" not in known} == set()


def test_monitoring__labels_that_rules_ask_for__are_counted_from_the_start(folder: Path) -> None:
    rules = (folder / "prometheus" / "rules.yml").read_text()
    shown = generate_latest(ProxyMetrics().registry).decode()
    (codes,) = re.findall(r'requests_total\{code=~"([^"]+)"', rules)

    assert [code for code in codes.split("|") if f'code="{code}"' not in shown] == []


def test_monitoring__each_rule__says_how_urgent_it_is_and_what_it_means(folder: Path) -> None:
    (group,) = yaml.safe_load((folder / "prometheus" / "rules.yml").read_text())["groups"]
    names = [rule["alert"] for rule in group["rules"]]

    assert len(set(names)) == len(names) > 12
    for rule in group["rules"]:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]
    scrape = yaml.safe_load((folder / "prometheus" / "scrape.yml").read_text())
    assert {job["job_name"] for job in scrape["scrape_configs"]} == {
        "current-indexer", "current-keeper", "current-proxy", "current-market",
    }  # fmt: skip


def test_run__a_command__has_the_folders_settings(folder: Path) -> None:
    done = subprocess.run(
        [str(folder / "run"), "ledger", "upgrade"],
        env={"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    assert (folder.parent / "ledger.sqlite3").stat().st_size > 0


def test_doctor__of_a_fresh_folder__finds_its_settings_well(folder: Path) -> None:
    with Patient(load_environment(folder), folder=folder) as patient:
        checks = [check for check in ALL_CHECKS if check.part in ("settings", "host", "secrets")]
        found = list(examine(patient, checks))

    assert not [one for one in found if "the check itself failed" in one.finding.says]
    # One endpoint of the keeper's three is missing: that is advice.
    assert {one.check for one in found if one.finding.level == "bad"} <= {"host.disk"}


def test_asked__without_a_terminal__says_which_option_is_missing(tmp_path: Path) -> None:
    ended = CliRunner(mix_stderr=False).invoke(commands, ["init", str(tmp_path / "x")], input="")

    assert ended.exit_code == 2
    assert ended.stderr == "Error: --domain is missing, and nobody is there to be asked\n"
    assert not (tmp_path / "x").exists()
