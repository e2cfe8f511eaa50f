"""The environment that a deployment folder gives its processes.

::

    <folder>/env/*.env      NAME=value lines, as systemd's EnvironmentFile reads them
    <folder>/secrets/NAME   the value of the setting NAME, a file of mode 0600 each

systemd hands a process its secrets as credentials (``LoadCredential``); a command that an operator
runs finds them here by the same names.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from contracts.errors import Fatal

ENV_FOLDER: Final = "env"
SECRETS_FOLDER: Final = "secrets"
_QUOTES: Final = "\"'"


class FolderInvalid(Fatal):
    """The folder is no deployment folder, or a file in it cannot be read."""


def load_environment(folder: Path | None) -> dict[str, str]:
    """Return the settings of a folder's processes; None: this process's own environment.

    A secret is there as ``NAME_FILE``. Raises ``FolderInvalid``.
    """
    if folder is None:
        return dict(os.environ)
    if not (folder / ENV_FOLDER).is_dir():
        raise FolderInvalid(f"{folder} is no deployment folder: `current init` makes one")
    values: dict[str, str] = {}
    for path in sorted((folder / ENV_FOLDER).glob("*.env")):
        values |= read_env_file(path)
    secrets = folder / SECRETS_FOLDER
    for path in sorted(secrets.iterdir()) if secrets.is_dir() else ():
        if path.name.isupper() and path.name not in values:
            values[f"{path.name}_FILE"] = str(path)
    return values


def read_env_file(path: Path) -> dict[str, str]:
    """Return the variables of a file of NAME=value lines. Raises ``FolderInvalid``."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FolderInvalid(f"cannot read {path}: {type(error).__name__}") from None
    values = {}
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text[0] in "#;":
            continue
        name, sign, value = text.partition("=")
        if not sign or not name.replace("_", "").isalnum():
            raise FolderInvalid(f"{path}, line {number}: not NAME=value")
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in _QUOTES:
            value = value[1:-1]
        values[name] = value
    return values


def names_of(environment: Mapping[str, str], prefix: str) -> dict[str, str]:
    """Return the variables of one process, by its prefix (``KEEPER_``)."""
    return {name: value for name, value in environment.items() if name.startswith(prefix)}
