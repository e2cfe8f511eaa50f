"""How sure it is which model an offer's host serves: its provenance grade. Pure.

A grade says something of the host that the market dials, and of the name that is sent there. The
company's name for the model must be one that only the company itself can give: at many hosts a
customer uploads weights of his own and calls them what he likes (``accounts/<customer>/…``), so a
name below anybody else's namespace is of grade D, and so is any path that leads to a customer's own
deployment. Without TLS on its usual port a host proves nothing.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final
from urllib.parse import urlsplit

from market.identity.same_model import ModelNames, is_member
from serving.models.grades import Grade

_TUNED: Final = re.compile(r"(?:^|[-_:./])(?:ft|lora|adapter|custom|finetuned?|tuned(?:models)?)\b")
"""What companies put into the names of models that a customer has changed."""


@dataclass(frozen=True, slots=True)
class Company:
    """What the operator's table says of one company."""

    makes: Sequence[str] = ()
    """Patterns of the names of the models that it makes, such as ``gpt-*``."""
    namespaces: frozenset[str] = frozenset()
    """What may stand before the last slash of a name at its hosts, beside the makers' names."""
    path: re.Pattern[str] | None = None
    """The paths of base URLs where it serves models of its own choice; None: every path."""
    names_deployments: bool = False
    """Whether customers name their deployments themselves, and the answer's ``model`` is the
    company's word for what runs there."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """The operator's table of companies, by the name that the table of hosts gives them."""

    companies: Mapping[str, Company] = field(default_factory=dict)
    namespaces: frozenset[str] = frozenset()
    """The makers' names, as hosts of many makers' models put them before the model's name."""

    def find_grade(
        self,
        base_url: str,
        *,
        provider: str,
        model: str,
        upstream_model: str,
        names: ModelNames,
        is_attested: bool = False,
    ) -> Grade:
        """Return the grade of an offer that sells ``model`` as ``upstream_model`` of a host.

        ``provider`` is the company that the table of hosts has for the host.
        """
        company = self.companies.get(provider)
        if company is not None and _is_proved(base_url, company.path):
            is_named = self._is_companys(upstream_model, company) and _is_same(
                upstream_model, model, names
            )
            if is_named and _is_made_by(model, company):
                return Grade.MAKER
            if is_named or company.names_deployments:
                return Grade.COMPANY
        return Grade.ATTESTED if is_attested else Grade.OTHER

    def _is_companys(self, upstream_model: str, company: Company) -> bool:
        """Tell whether only the company itself can have given a name at its hosts."""
        name = upstream_model.strip().lower()
        space, _, last = name.rpartition("/")
        if _TUNED.search(last) is not None:
            return False
        return not space or space in self.namespaces or space in company.namespaces


def _is_proved(base_url: str, path: re.Pattern[str] | None) -> bool:
    """Tell whether TLS proves the host of a base URL, and its path is the company's own."""
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:
        return False
    if parts.scheme != "https" or port not in (None, 443) or "@" in parts.netloc:
        return False
    # No resolver of paths may see another path than this one.
    if "%" in parts.path or "//" in parts.path or "/." in parts.path:
        return False
    return path is None or path.fullmatch(parts.path.rstrip("/")) is not None


def _is_same(upstream_model: str, model: str, names: ModelNames) -> bool:
    return names.is_same(upstream_model, model) or is_member(upstream_model, family=model)


def _is_made_by(model: str, company: Company) -> bool:
    last = model.strip().lower().rsplit("/", 1)[-1]
    return any(fnmatchcase(last, pattern) for pattern in company.makes)
