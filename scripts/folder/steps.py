"""What an operator does once a deployment folder is made."""

from pathlib import Path
from typing import Final

from scripts.folder.compose import IMAGE, USER_ID
from scripts.folder.wishes import Wishes

STATE_FOLDER: Final = "/var/lib/current"
BACKUPS_FOLDER: Final = "/var/backups/current"
_FUND: Final = (
    "# fund the keeper's address with ether, and let the admin call, for it:",
    "#   position.setSettler(<it>, true)  payouts.setPayer(<it>, true)",
)


def list_steps(folder: Path, wishes: Wishes) -> list[str]:
    """Return what an operator does next, a shell line or a comment each."""
    user, steps = wishes.user, []
    if wishes.database_password is not None:
        return _list_container_steps(folder, wishes)
    steps.append(f"useradd --system --home {STATE_FOLDER} --shell /usr/sbin/nologin {user}")
    steps.append(f"install -d -m 700 -o {user} -g {user} {STATE_FOLDER} {BACKUPS_FOLDER}")
    steps.append(f"chown -R {user}: {folder}")
    steps.extend(_FUND)
    steps.append(f"{folder}/run ledger upgrade")
    if wishes.upstream_url is None:
        steps.append(f"{folder}/run market operator-key > {folder}/secrets/PROXY_UPSTREAM_KEY")
        steps.append(f"{folder}/run market credit --help   # the operator's own credit")
    else:
        steps.append(f"# put upstream's key into {folder}/secrets/PROXY_UPSTREAM_KEY")
    steps.append(f"systemctl link {folder}/systemd/*")
    steps.append("systemctl enable --now current.target current-backup.timer current-doctor.timer")
    steps.append(f"ln -s {folder}/nginx/current.conf /etc/nginx/conf.d/   # or Caddy's")
    steps.append(f"{folder}/run doctor --folder {folder} --backups {BACKUPS_FOLDER}")
    return steps


def _list_container_steps(folder: Path, wishes: Wishes) -> list[str]:
    compose = f"docker compose -f {folder}/compose.yml"
    steps = [
        f"# in a clone: docker build -f containers/Dockerfile -t {IMAGE} .",
        f"chown -R {USER_ID}:{USER_ID} {folder}",
        *_FUND,
        f"{compose} up -d postgres",
    ]
    if wishes.upstream_url is None:
        key = f"{folder}/secrets/PROXY_UPSTREAM_KEY"
        steps.append(f"{compose} run --rm -T market market operator-key > {key}")
    else:
        steps.append(f"# put upstream's key into {folder}/secrets/PROXY_UPSTREAM_KEY")
    steps.append(f"{compose} up -d")
    steps.append(f"ln -s {folder}/nginx/current.conf /etc/nginx/conf.d/   # or Caddy's")
    return steps
