"""The compose file of a deployment folder: every process in a container, beside PostgreSQL.

What a process reads of the folder is mounted where it lies on the host, so that its settings name
the same paths in both; its secrets come one by one.
"""

import secrets as randomness
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from scripts.folder.environment import SECRETS_FOLDER

IMAGE: Final = "current-yield:0.1.0"
USER_ID: Final = 10_001
"""Whom ``containers/Dockerfile`` makes."""
SUBNET: Final = "10.93.84.0/24"
"""Outside of what clouds give hosts by default (AWS 172.31.0.0/16, Google 10.128.0.0/9, others
10.0.0.0/16) and of what docker takes by itself: a host loses its neighbours in the same range."""
HOST: Final = "10.93.84.1"
"""How containers see this host, where the balancer is."""
DATABASE: Final = "postgresql+psycopg://current:{password}@postgres/current"
PASSWORD: Final = "POSTGRES_PASSWORD"
PASSWORD_BYTES: Final = 32
EVERYWHERE: Final = "0.0.0.0"
KEEPER_METRICS_PORT: Final = 9464
INDEXER_METRICS_PORT: Final = 9465
METRICS_PORTS: Final[Mapping[str, int]] = {
    "keeper": KEEPER_METRICS_PORT,
    "indexer": INDEXER_METRICS_PORT,
}
HEALTH: Final[Mapping[str, str]] = {
    "proxy": "/api/current/healthz",
    "market": "/healthz",
}
READ_FROM_FOLDER: Final[Mapping[str, tuple[str, ...]]] = {
    "indexer": ("deployment.json",),
    "keeper": ("deployment.json",),
    "proxy": ("deployment.json",),
    "market": ("deployment.json", "kms"),
}
"""What each process reads by a path that its settings name. Docker itself reads the folder's
``env`` and ``secrets``."""


def build_compose_facts(
    folder: Path,
    processes: Iterable[tuple[str, str, int | None]],
    names: Iterable[str],
    *,
    market_url: str | None,
) -> dict[str, Any]:
    """Return what the compose file says; ``processes``: name, process and port of each.

    ``names`` are the settings whose values are files in the folder's ``secrets``. ``market_url``:
    where proxies find the market of this folder; None: they buy elsewhere.
    """
    secrets = [name for name in names if name != PASSWORD]
    services = [
        {
            **_build_service(*process, secrets, market_url),
            "paths": [folder / name for name in READ_FROM_FOLDER[process[1]]],
        }
        for process in processes
    ]
    return {
        "folder": folder,
        "image": IMAGE,
        "uid": USER_ID,
        "subnet": SUBNET,
        "services": services,
        "secrets": [*secrets, PASSWORD],
    }


def find_database_password(folder: Path) -> str:
    """Return the password that a folder has for its database, or a new one."""
    path = folder / SECRETS_FOLDER / PASSWORD
    if path.is_file():
        return path.read_text(encoding="ascii").strip()
    return randomness.token_hex(PASSWORD_BYTES)


def _build_service(
    name: str, process: str, port: int | None, secrets: Iterable[str], market_url: str | None
) -> dict[str, Any]:
    prefix = process.upper()
    own = [secret for secret in secrets if secret.startswith(f"{prefix}_")]
    environment = {f"{secret}_FILE": f"/run/secrets/{secret}" for secret in own}
    if port is None:
        # Published to this host only, for Prometheus.
        environment[f"{prefix}_METRICS_HOST"] = EVERYWHERE
    else:
        told = {"HOST": EVERYWHERE, "PORT": str(port), "TRUSTED_PROXIES": HOST}
        environment |= {f"{prefix}_{setting}": value for setting, value in told.items()}
    if process == "proxy" and market_url is not None:
        environment["PROXY_UPSTREAM_URL"] = market_url
    return {
        "name": name,
        "process": process,
        "port": port or METRICS_PORTS[process],
        "environment": environment,
        "secrets": own,
        "memory": "2g" if process in HEALTH else "1g",
        "health": f"http://127.0.0.1:{port}{HEALTH[process]}" if process in HEALTH else None,
    }
