"""Making a deployment folder: every file that an operator needs to run the processes for years.

Nothing that is there is changed: a folder is made whole again by making it once more.
"""

import os
import secrets as randomness
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from eth_account import Account
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from contracts.deployment import load_deployment
from scripts.doctor.patient import CLASSES
from scripts.folder.compose import (
    INDEXER_METRICS_PORT,
    KEEPER_METRICS_PORT,
    PASSWORD,
    build_compose_facts,
)
from scripts.folder.dashboard import build_dashboard
from scripts.folder.environment import ENV_FOLDER, SECRETS_FOLDER
from scripts.folder.steps import BACKUPS_FOLDER, STATE_FOLDER, list_steps
from scripts.folder.wishes import Wishes

TEMPLATES: Final = Path(__file__).parent / "templates"
MARKET_PORT: Final = 8403
SECRET_BYTES: Final = 32
REQUESTS_PER_MINUTE_MAX: Final = 600


@dataclass(frozen=True, slots=True)
class FolderFile:
    """One file of the folder. ``is_new``: it was written now."""

    path: Path
    is_new: bool


def make_folder(folder: Path, wishes: Wishes) -> list[FolderFile]:
    """Write what is missing of a deployment folder, and return all of its files.

    Raises ``DeploymentUnknown`` where the record cannot be read, and ``OSError``.
    """
    folder = folder.resolve()
    load_deployment(wishes.deployment_file)
    files: dict[str, str] = {"deployment.json": wishes.deployment_file.read_text("utf-8")}
    for process, settings in build_settings(folder, wishes).items():
        files[f"{ENV_FOLDER}/{process}.env"] = _render_env(process, settings)
    for name, secret in build_secrets(wishes).items():
        # What is empty now can be filled in later: its unit hands it over already.
        files[f"{SECRETS_FOLDER}/{name}"] = f"{secret}\n" if secret else ""
    if wishes.market_domain is not None:
        files["kms/market.keys"] = f"first {randomness.token_hex(SECRET_BYTES)}\n"
    files |= build_units(folder, wishes)
    facts = _facts(folder, wishes)
    for path, template in (
        ("nginx/current.conf", "nginx.conf"),
        ("caddy/Caddyfile", "Caddyfile"),
        ("prometheus/scrape.yml", "scrape.yml"),
        ("prometheus/rules.yml", "rules.yml"),
        ("logrotate/current", "logrotate"),
        ("run", "run"),
        ("README.md", "README.md"),
    ):
        files[path] = render(template, **facts)
    if wishes.database_password is not None:
        market_url = None if wishes.upstream_url else f"http://market:{MARKET_PORT}/v1"
        told = build_compose_facts(
            folder, _list_processes(wishes), build_secrets(wishes), market_url=market_url
        )
        files["compose.yml"] = render("compose.yml", **told)
    files["grafana/current.json"] = build_dashboard()
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    return [_write(folder, name, content) for name, content in files.items()]


def build_settings(folder: Path, wishes: Wishes) -> dict[str, dict[str, str]]:
    """Return the settings of each process that are no secrets, by their names."""
    record = str(folder / "deployment.json")
    server = {"TRUSTED_PROXIES": "127.0.0.1,::1", "SECURITY_CONTACT": wishes.contact}
    found = {
        "indexer": {
            "INDEXER_DEPLOYMENT_FILE": record,
            "INDEXER_METRICS_PORT": str(INDEXER_METRICS_PORT),
            # Two of three have to agree on what is mirrored.
            "INDEXER_RPC_QUORUM": "2" if len(wishes.rpc_urls) > 2 else "1",
        },
        "keeper": {
            "KEEPER_DEPLOYMENT_FILE": record,
            "KEEPER_METRICS_PORT": str(KEEPER_METRICS_PORT),
        },
        "proxy": {
            "PROXY_DEPLOYMENT_FILE": record,
            "PROXY_DOMAIN": wishes.domain,
            "PROXY_UPSTREAM_URL": wishes.upstream_url or f"http://127.0.0.1:{MARKET_PORT}/v1",
            "PROXY_LEGACY_KEY_MESSAGE": "false",
            # Not the market's: there, this host's proxies are one address.
            "PROXY_ADDRESS_REQUESTS_PER_MINUTE_MAX": str(REQUESTS_PER_MINUTE_MAX),
            **{f"PROXY_{name}": value for name, value in server.items()},
        },
    }
    if wishes.market_domain is not None:
        found["market"] = {
            "MARKET_DEPLOYMENT_FILE": record,
            "MARKET_PUBLIC_URL": f"https://{wishes.market_domain}",
            "MARKET_OWN_URLS": f"https://{wishes.domain}",
            "MARKET_KMS": f"file:{folder / 'kms' / 'market.keys'}",
            **{f"MARKET_{name}": value for name, value in server.items()},
        }
    return found


def build_secrets(wishes: Wishes) -> dict[str, str]:
    """Return the secrets of all processes by their settings' names; new ones are random."""
    processes = ["indexer", "keeper", "proxy"]
    if wishes.market_domain is not None:
        processes.append("market")
    found = {}
    for process in processes:
        several = process in ("indexer", "keeper")
        urls = wishes.rpc_urls if several else wishes.rpc_urls[:1]
        found[f"{process.upper()}_RPC_URL"] = " ".join(urls)
        found[f"{process.upper()}_LEDGER_URL"] = wishes.ledger_url
    if wishes.heads_url is not None:
        found["INDEXER_HEADS_URL"] = wishes.heads_url
    found |= dict.fromkeys(list_secret_names(processes) - found.keys(), "")
    found["KEEPER_PRIVATE_KEY"] = "0x" + randomness.token_hex(SECRET_BYTES)
    found["PROXY_KEY_SECRET"] = randomness.token_hex(SECRET_BYTES)
    found["PROXY_METRICS_TOKEN"] = randomness.token_hex(SECRET_BYTES)
    if wishes.market_domain is not None:
        found["MARKET_SECRET"] = randomness.token_hex(SECRET_BYTES)
        found["MARKET_METRICS_TOKEN"] = randomness.token_hex(SECRET_BYTES)
    if wishes.database_password is not None:
        found[PASSWORD] = wishes.database_password
    return found


def list_secret_names(processes: Iterable[str]) -> set[str]:
    """Return every setting of some processes that is a secret."""
    return {
        f"{kind.model_config['env_prefix']}{field.upper()}"
        for process in processes
        for kind in (CLASSES[process],)
        for field, told in kind.model_fields.items()
        if "SecretStr" in str(told.annotation)
    }


def build_units(folder: Path, wishes: Wishes) -> dict[str, str]:
    """Return the systemd units: each process, a target for all of them, and timers."""
    names = build_secrets(wishes)
    common: dict[str, Any] = {
        "folder": folder,
        "user": wishes.user,
        "executable": wishes.executable,
    }
    units: dict[str, str] = {}
    for unit, process, port in _list_processes(wishes):
        units[f"current-{unit}.service"] = render(
            "service",
            **common,
            about=ABOUT[process],
            process=process,
            command=process,
            port=port,
            memory="2G" if process in ("proxy", "market") else "1G",
            secrets=[name for name in names if name.startswith(f"{process.upper()}_")],
        )
    services = list(units)
    units["current.target"] = render("target", **common, units=services)
    for name, (command, calendar, about, writes) in TASKS.items():
        places = [place.format(folder=folder) for place in writes]
        told: dict[str, Any] = {"about": about, "command": command.format(folder=folder)}
        units[f"current-{name}.service"] = render("task.service", **common, **told, writes=places)
        units[f"current-{name}.timer"] = render("task.timer", about=about, calendar=calendar)
    return {f"systemd/{name}": text for name, text in units.items()}


ABOUT: Final[Mapping[str, str]] = {
    "indexer": "the indexer, which mirrors the chain into the ledger",
    "keeper": "the keeper, which harvests, holds, settles and pays",
    "proxy": "the proxy, which serves buyers",
    "market": "the market, which serves sellers and routes requests to them",
}
TASKS: Final[Mapping[str, tuple[str, str, str, tuple[str, ...]]]] = {
    "backup": (
        f"backup {BACKUPS_FOLDER} --keep 30",
        "*-*-* 03:17:00",
        "a backup of the ledger",
        (STATE_FOLDER, f"-{BACKUPS_FOLDER}"),
    ),
    "doctor": (
        f"doctor --folder {{folder}} --backups {BACKUPS_FOLDER}",
        "*-*-* *:07/15:00",
        "a look at everything that can be wrong",
        (STATE_FOLDER,),
    ),
    "audit": (
        "audit",
        "*-*-* 04:41:00",
        "the ledger's invariants, against its rows and the chain",
        (STATE_FOLDER,),
    ),
}


def _list_processes(wishes: Wishes) -> Iterator[tuple[str, str, int | None]]:
    """Yield each unit's name, its process and its port, None where the process has none."""
    yield "indexer", "indexer", None
    yield "keeper", "keeper", None
    for number, port in enumerate(wishes.proxy_ports):
        yield "proxy" if number == 0 else f"proxy-{number + 1}", "proxy", port
    if wishes.market_domain is not None:
        yield "market", "market", MARKET_PORT


def _facts(folder: Path, wishes: Wishes) -> dict[str, Any]:
    servers = [
        {
            "name": "proxy",
            "domain": wishes.domain,
            "ports": wishes.proxy_ports,
            "body": "5m",
            "body_caddy": "5MB",
            "metrics": "/api/current/metrics",
        }
    ]
    if wishes.market_domain is not None:
        market = {"name": "market", "domain": wishes.market_domain, "ports": [MARKET_PORT]}
        servers.append({**market, "body": "27m", "body_caddy": "27MB", "metrics": "/metrics"})
    return {
        "folder": folder,
        "user": wishes.user,
        "executable": wishes.executable,
        "domain": wishes.domain,
        "market": wishes.market_domain is not None,
        "servers": servers,
        "backups": BACKUPS_FOLDER,
        "indexer_metrics_port": INDEXER_METRICS_PORT,
        "keeper_metrics_port": KEEPER_METRICS_PORT,
        "steps": list_steps(folder, wishes),
    }


def find_keeper_address(folder: Path) -> str | None:
    """Return the address of the keeper's key in a folder; None where the key is elsewhere."""
    key = (folder / SECRETS_FOLDER / "KEEPER_PRIVATE_KEY").read_text("ascii").strip()
    try:
        return str(Account.from_key(key).address) if key else None
    except Exception:
        return None  # the keeper itself says what is wrong with it; no text of it may be shown


@cache
def _templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=False,
        autoescape=False,
    )


def render(name: str, **facts: Any) -> str:
    """Return a template with its facts filled in."""
    return _templates().get_template(f"{name}.j2").render(**facts)


def _render_env(process: str, settings: Mapping[str, str]) -> str:
    lines = [
        f"# The {process}'s settings, without secrets: those are in ../secrets.",
        f"# `current {process} --help`, and docs/settings.md, say what each setting means.",
        *(
            f'{name}="{value}"' if " " in value else f"{name}={value}"
            for name, value in settings.items()
        ),
    ]
    return "\n".join(lines) + "\n"


def _quote(value: str) -> str:
    return f'"{value}"' if " " in value else value


def _write(folder: Path, name: str, content: str) -> FolderFile:
    path = folder / name
    is_private = name.startswith((f"{SECRETS_FOLDER}/", f"{ENV_FOLDER}/", "kms/"))
    path.parent.mkdir(mode=0o700 if is_private else 0o755, parents=True, exist_ok=True)
    mode = 0o600 if is_private else 0o755 if name == "run" else 0o644
    try:
        # Exclusively: what is there, or comes into being meanwhile, is not written over.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        return FolderFile(path, is_new=False)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
    path.chmod(mode)
    return FolderFile(path, is_new=True)
