"""The table of companies in TOML: which models each makes, and how its hosts name models.

::

    namespaces = ["meta-llama"]        # makers' names, before the slash of a model's name

    [companies.openai]                 # a name of [providers] in the table of names
    makes = ["gpt-*"]                  # none: it serves others' models only
    namespaces = ["openai/models"]     # its own, beside the makers'
    path = "/v1"                       # a regular expression of its base URLs' paths
    names_deployments = true           # its customers choose the names that are asked for

A provider that is not named here, or stands in the table of names only, is of grade D: a reseller
of other people's keys is one. ``market/provenance.toml`` is used unless ``MARKET_PROVENANCE_FILE``
names another.
"""

import re
import tomllib
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from contracts.errors import Fatal
from market.identity.provenance import Company, Provenance

DEFAULT: Final = Path(__file__).parents[1] / "provenance.toml"


class ProvenanceInvalid(Fatal):
    """The operator's table of companies cannot be read or has an error."""


class _Company(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    makes: list[str] = []
    namespaces: list[str] = []
    path: str | None = None
    names_deployments: bool = False

    @field_validator("makes", "namespaces")
    @classmethod
    def _check_case(cls, names: list[str]) -> list[str]:
        for name in names:
            if name != name.lower() or not name or name.startswith("*"):
                raise ValueError(f"{name!r} must be in lower case and begin with letters")
        return names

    @field_validator("path")
    @classmethod
    def _check_path(cls, path: str | None) -> str | None:
        try:
            re.compile(path or "")
        except re.error as error:
            raise ValueError(f"{path!r} is no regular expression: {error}") from None
        return path


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    namespaces: list[str] = []
    companies: dict[str, _Company] = {}


def load_provenance(path: Path | None = None) -> Provenance:
    """Read the table, by default the one that comes with the market. Raises
    ``ProvenanceInvalid``."""
    path = DEFAULT if path is None else path
    try:
        table = _Table.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise ProvenanceInvalid(f"{path}: {error}") from error
    companies = {
        name: Company(
            makes=tuple(one.makes),
            namespaces=frozenset(one.namespaces),
            path=None if one.path is None else re.compile(one.path),
            names_deployments=one.names_deployments,
        )
        for name, one in table.companies.items()
    }
    return Provenance(companies, frozenset(table.namespaces))
