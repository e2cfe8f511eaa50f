"""The operator's table of names, in TOML: which hosts are whose, and which models they make.

::

    shared = ["github.io"]             # domains whose names belong to different people each

    families = ["gpt-*"]              # how the names of well-known models begin

    [aliases]
    "a-name" = ["a name that it may stand for"]

    [providers.openai]
    hosts = ["api.openai.com"]         # exact, or "*.example.com" for all below
    zdr = false                        # what no declaration for these hosts can claim
    data_collection = "allow"
    regions = ["us"]

``market/names.toml`` is used unless ``MARKET_NAMES_FILE`` names another.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from contracts.errors import Fatal
from market.identity.provenance import Provenance
from market.identity.provenance_table import load_provenance
from market.identity.provider_names import ProviderNames
from market.identity.same_model import ModelNames, simplify
from serving.dialects.serving_facts import ANY_BOUNDS, REGION, Bounds
from serving.models.grades import Grade

DEFAULT: Final = Path(__file__).parents[1] / "names.toml"

_PROVIDER: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
"""Shorter than an offer's id or a wallet's address: a name is never taken for one."""
_HOST: Final = re.compile(r"(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)+")


class NamesInvalid(Fatal):
    """The operator's table of names cannot be read or has an error."""


class _Provider(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    hosts: list[str] = Field(min_length=1)
    zdr: bool | None = None
    data_collection: Literal["allow", "deny"] | None = None
    regions: list[Annotated[str, Field(pattern=f"^{REGION.pattern}$")]] | None = None

    def build_bounds(self) -> Bounds:
        """Return how far declarations for these hosts may go."""
        collecting = self.data_collection
        return Bounds(
            keeps_nothing=self.zdr,
            may_collect=None if collecting is None else collecting == "allow",
            regions=None if self.regions is None else frozenset(self.regions),
        )

    @field_validator("hosts")
    @classmethod
    def _check_hosts(cls, hosts: list[str]) -> list[str]:
        for host in hosts:
            if _HOST.fullmatch(host) is None:
                raise ValueError(f"{host!r} is no host in lower case")
        return hosts


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    shared: list[str] = []
    families: list[str] = []
    aliases: dict[str, list[str]] = {}
    providers: dict[str, _Provider] = {}

    @model_validator(mode="after")
    def _check_names(self) -> "_Table":
        hosts = [host for provider in self.providers.values() for host in provider.hosts]
        for name in self.providers:
            if _PROVIDER.fullmatch(name) is None:
                raise ValueError(f"{name!r} is no provider's name: a-z, 0-9 and dashes")
        if len(set(hosts)) < len(hosts):
            raise ValueError("a host is named twice")
        return self


@dataclass(frozen=True, slots=True)
class NameTable:
    """What the operator says of names."""

    providers: ProviderNames
    models: ModelNames
    bounds: Mapping[str, Bounds] = field(default_factory=dict)
    """How far declarations may go, by the provider whose host it is."""
    provenance: Provenance = field(default_factory=Provenance)

    def find_bounds(self, provider: str) -> Bounds:
        """Return how far declarations for a provider's hosts may go."""
        return self.bounds.get(provider, ANY_BOUNDS)

    def find_grade(self, row: Mapping[Any, Any], *, provider: str) -> Grade:
        """Return the provenance grade of an offer's row, whose host is ``provider``'s."""
        return self.provenance.find_grade(
            row["seller_base_url"],
            provider=provider,
            model=row["model"],
            upstream_model=row["upstream_model"],
            names=self.models,
        )


def load_name_table(path: Path | None = None, provenance_path: Path | None = None) -> NameTable:
    """Read the tables, by default those that come with the market.

    Raises ``NamesInvalid``, and ``ProvenanceInvalid`` for the table of companies.
    """
    path = DEFAULT if path is None else path
    try:
        table = _Table.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise NamesInvalid(f"{path}: {error}") from error
    providers = ProviderNames(
        {host: name for name, one in table.providers.items() for host in one.hosts},
        tuple(table.shared),
    )
    aliases = {
        simplify(name): frozenset(simplify(alias) for alias in others)
        for name, others in table.aliases.items()
    }
    models = ModelNames(tuple(table.families), aliases)
    bounds = {name: one.build_bounds() for name, one in table.providers.items()}
    return NameTable(providers, models, bounds, load_provenance(provenance_path))
