"""Write ``.env.example`` and ``docs/settings.md`` from the settings classes.

``python -m scripts.export_settings`` writes them, ``--check`` exits 1 where they are stale.
"""

from pathlib import Path
from typing import Any, Final

import click
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from indexer.settings import IndexerSettings
from keeper.settings import KeeperSettings
from market.settings import MarketSettings
from proxy.settings import ProxySettings
from serving.process.command_line import command
from serving.process.exit_codes import ExitCode
from serving.process.settings import ProcessSettings

ROOT: Final = Path(__file__).resolve().parent.parent
CLASSES: Final[dict[str, type[ProcessSettings]]] = {
    "Indexer": IndexerSettings,
    "Keeper": KeeperSettings,
    "Market": MarketSettings,
    "Proxy": ProxySettings,
}


def build_env_example() -> str:
    """Return an environment file with every setting: the required ones open, others commented."""
    lines = [
        "# Every setting of every process. Each process reads only the names with its own prefix",
        "# and refuses those that it does not know. X_FILE may name a file that holds a secret X.",
        "# Made by `python -m scripts.export_settings`.",
    ]
    for title, settings in CLASSES.items():
        lines += ["", f"# {title}"]
        for name, field in list_settings(settings):
            lines.append(f"# {_describe(field)}")
            lines.append(f"{name}=" if field.is_required() else f"# {name}={_default(field)}")
    return "\n".join(lines) + "\n"


def build_settings_page() -> str:
    """Return the settings as one Markdown table for each process."""
    lines = [
        "# Settings",
        "",
        "Each process reads its settings from the environment, only the names with its own prefix,",
        "and refuses names that it does not know. Every setting `X` that holds a secret may be",
        "given as `X_FILE`, the path of a file that holds it; an empty file gives none. Amounts",
        "are integers of 1e-6 USDC.",
        "Made by `python -m scripts.export_settings` from the settings classes.",
    ]
    for title, settings in CLASSES.items():
        lines += ["", f"## {title}", "", "| name | default | meaning |", "|---|---|---|"]
        for name, field in list_settings(settings):
            default = "required" if field.is_required() else f"`{_default(field)}`"
            lines.append(f"| `{name}` | {default} | {_describe(field)} |")
    return "\n".join(lines) + "\n"


def list_settings(settings: type[ProcessSettings]) -> list[tuple[str, FieldInfo]]:
    """Return each setting of a process by the name that it has in the environment."""
    prefix = str(settings.model_config["env_prefix"])
    return [(prefix + name.upper(), field) for name, field in settings.model_fields.items()]


def _describe(field: FieldInfo) -> str:
    assert field.description, "every setting says what it means, with its unit"
    return field.description


def _default(field: FieldInfo) -> str:
    default: Any = field.default
    if default is None or default is PydanticUndefined:
        return ""
    if hasattr(default, "get_secret_value"):
        return str(default.get_secret_value())
    return str(default)


PAGES: Final = {
    ROOT / ".env.example": build_env_example,
    ROOT / "docs" / "settings.md": build_settings_page,
}


@command("export_settings", help=__doc__, is_check=True)
@click.option("--check", is_flag=True, help="Change nothing; exit 1 where a file is stale.")
def main(check: bool) -> ExitCode:
    """Write or check both files."""
    stale = False
    for path, build in PAGES.items():
        wanted = build()
        if path.exists() and path.read_text(encoding="utf-8") == wanted:
            continue
        if check:
            print(f"{path.relative_to(ROOT)} is stale: run `python -m scripts.export_settings`")
            stale = True
        else:
            path.write_text(wanted, encoding="utf-8")
    return ExitCode.FAILED if stale else ExitCode.DONE


if __name__ == "__main__":
    main(prog_name="python -m scripts.export_settings")
