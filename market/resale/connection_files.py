"""``api_connections:`` files: YAML, read within bounds.

Refused are anchors and aliases (a small file can come to gigabytes by them), names that stand
twice, tags, and files that are too long.
"""

from pathlib import Path
from typing import Any, Final

import yaml

from contracts.errors import Fatal
from market.resale.connection_terms import FIELDS

BYTES_MAX: Final = 256 * 1024
CONNECTIONS_MAX: Final = 50


class ConnectionFileInvalid(Fatal):
    """A file that states no connections; the text says why, and never quotes a key."""


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Reads plain values only."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise ConnectionFileInvalid("anchors and aliases are not read: write the value again")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ConnectionFileInvalid(f"the name {twice[:60]!r} is there twice")
        built: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return built


def parse_connection_file(text: str) -> list[dict[str, Any]]:
    """Return the connections of a file, as it states them. Raises ``ConnectionFileInvalid``."""
    if len(text.encode()) > BYTES_MAX:
        raise ConnectionFileInvalid(f"a file of connections has at most {BYTES_MAX} bytes")
    try:
        # A SafeLoader: it makes plain values only.
        read = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f", line {mark.line + 1}"
        raise ConnectionFileInvalid(f"the file is not YAML{where}") from None
    except RecursionError:
        raise ConnectionFileInvalid("the file is nested too deeply") from None
    if not isinstance(read, dict) or not isinstance(read.get("api_connections"), list):
        raise ConnectionFileInvalid("the file has no list 'api_connections:'")
    if len(read) > 1:
        other = next(str(name) for name in read if name != "api_connections")
        raise ConnectionFileInvalid(f"{other[:60]!r} is not known beside 'api_connections:'")
    found: list[Any] = read["api_connections"]
    if not 1 <= len(found) <= CONNECTIONS_MAX:
        raise ConnectionFileInvalid(f"'api_connections:' has 1 to {CONNECTIONS_MAX} entries")
    for number, entry in enumerate(found, start=1):
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise ConnectionFileInvalid(f"entry {number} of 'api_connections:' has no 'name'")
        unknown = sorted(str(name) for name in entry if name not in FIELDS)
        if unknown:
            raise ConnectionFileInvalid(
                f"{entry['name'][:60]}: {unknown[0][:60]!r} is not a field of a connection"
            )
    return found


def read_connection_file(path: Path) -> list[dict[str, Any]]:
    """Return the connections of a file. Raises ``ConnectionFileInvalid``, ``OSError``."""
    with path.open("rb") as file:
        raw = file.read(BYTES_MAX + 1)
    try:
        return parse_connection_file(raw.decode())
    except UnicodeDecodeError:
        raise ConnectionFileInvalid("the file is not UTF-8") from None
