"""Tools of a maker's own that the client runs, as functions of the common form. Pure.

Such a tool comes as a type with a date and without a schema: its maker's models know it. Other
models are told what it takes. The client reads the call as it reads any other of its tools.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from serving.http.errors import bad_request

_TEXT: Final = {"type": "string"}
_NUMBER: Final = {"type": "integer"}
_FILES: Final[Mapping[str, Any]] = {
    "path": _TEXT,
    "file_text": {**_TEXT, "description": "for create: the whole file"},
    "old_str": {**_TEXT, "description": "for str_replace: the text that is replaced, unique"},
    "new_str": {**_TEXT, "description": "for str_replace: the text in its place"},
    "insert_line": {**_NUMBER, "description": "for insert: the line after which it goes; 0: first"},
    "insert_text": {**_TEXT, "description": "for insert: the text"},
    "view_range": {
        "type": "array",
        "items": _NUMBER,
        "description": "for view: first and last line; -1: to the end",
    },
}
_EDITS: Final = ("view", "create", "str_replace", "insert")


def _build_schema(
    properties: Mapping[str, Any], commands: tuple[str, ...], *required: str
) -> dict[str, Any]:
    chosen = {"command": {"type": "string", "enum": list(commands)}} if commands else {}
    return {
        "type": "object",
        "properties": {**chosen, **properties},
        "required": ["command", *required],
    }


_KNOWN: Final[tuple[tuple[re.Pattern[str], str, dict[str, Any]], ...]] = (
    (
        re.compile(r"bash_\d+"),
        "Run a command in a shell that stays open between calls.",
        {
            "type": "object",
            "properties": {
                "command": _TEXT,
                "restart": {"type": "boolean", "description": "start the shell anew"},
            },
        },
    ),
    (
        re.compile(r"text_editor_\d+"),
        "View, create and edit files.",
        _build_schema(_FILES, (*_EDITS, "undo_edit"), "path"),
    ),
    (
        re.compile(r"memory_\d+"),
        "Keep what is to be remembered in files below /memories, and look there first.",
        _build_schema(
            {**_FILES, "old_path": _TEXT, "new_path": _TEXT}, (*_EDITS, "delete", "rename")
        ),
    ),
)
_OTHERS: Final = re.compile(
    r"computer(?:_\d+|_use_preview)?|local_shell|shell|apply_patch|(?:bash|text_editor|memory)\b.*"
)


def find_client_tool(kind: str) -> tuple[str, dict[str, Any]] | None:
    """Return (description, schema) of a tool that is known by its type; None for any other."""
    for pattern, said, schema in _KNOWN:
        if pattern.fullmatch(kind) is not None:
            return said, schema
    return None


def refuse_tool(kind: str, param: str) -> NoReturn:
    """Refuse a tool by its type, with the true reason. Raises ``RequestRejected`` (400)."""
    shown = kind[:60]
    if _OTHERS.fullmatch(kind) is not None:
        message = (
            f"The tool type {shown!r} is known to its maker's own models alone, so it is not"
            " supported here. Declare a function of your own that does the same."
        )
    else:
        message = (
            f"The tool type {shown!r} runs at the model's provider: what it costs cannot be"
            " bounded, so it is not supported. Declare a function of your own."
        )
    raise bad_request("unsupported_tool", message, param=param)
