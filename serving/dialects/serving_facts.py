"""What is known of whoever serves a model, beside the price: how data is kept, where, how exact.
Pure.

Sellers declare it (``declares`` of an offer), and the operator of a proxy declares it of a lone
upstream. A declaration is a promise, so it counts only of those whom the operator has approved, and
only as far as the operator's table of hosts allows. Whoever declared nothing, or may not declare,
is taken to keep data, to train on it, and to be anywhere.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from serving.http.errors import RequestRejected, bad_request, wrong_type
from serving.http.strict_json import check_fields

QUANTIZATIONS: Final = (
    *("int4", "int8", "fp4", "fp6", "fp8", "fp16", "bf16", "fp32"),
    "unknown",
)
PARAMETERS: Final = frozenset(
    {
        *("tools", "tool_choice", "parallel_tool_calls", "response_format", "seed", "logit_bias"),
        *("logprobs", "top_logprobs", "top_k", "min_p", "frequency_penalty", "presence_penalty"),
        *("repetition_penalty", "reasoning_effort"),
    }
)
"""Fields of a request that not everybody who serves a model obeys; all others everybody does."""

REGION: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,15}")
_FIELDS: Final = ("zdr", "data_collection", "region", "quantization", "parameters")
_COLLECTING: Final = ("allow", "deny")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of whoever serves. The defaults are what is assumed of a stranger."""

    keeps_nothing: bool = False
    """Zero data retention: nothing of a request is kept once it was answered."""
    may_collect: bool = True
    """Whether requests may be used for training, or by others."""
    region: str | None = None
    """Where requests are processed, such as ``eu``; None: unknown."""
    quantization: str | None = None
    """Of the weights; None: unknown."""
    parameters: frozenset[str] | None = None
    """The ones of ``PARAMETERS`` that are obeyed; None: unknown."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far declarations for a host may go, by the operator's table. None: as declared."""

    keeps_nothing: bool | None = None
    may_collect: bool | None = None
    regions: frozenset[str] | None = None


STRANGER: Final = Facts()
ANY_BOUNDS: Final = Bounds()


def parse_declared(value: Any, *, at: str = "declares") -> Facts:
    """Read a declaration. Raises ``RequestRejected`` (400), naming the field."""
    if not isinstance(value, dict):
        raise wrong_type(at, "an object")
    check_fields(value, _FIELDS)
    keeps_nothing = value.get("zdr")
    if keeps_nothing is not None and not isinstance(keeps_nothing, bool):
        raise wrong_type(f"{at}.zdr", "true or false")
    collecting = value.get("data_collection")
    if collecting is not None and collecting not in _COLLECTING:
        raise wrong_type(f"{at}.data_collection", "'allow' or 'deny'")
    if keeps_nothing and collecting == "allow":
        message = "What is not kept (zdr) cannot be collected: data_collection must be 'deny'."
        raise bad_request("invalid_declaration", message, param=f"{at}.data_collection")
    return Facts(
        keeps_nothing=bool(keeps_nothing),
        may_collect=not keeps_nothing and collecting != "deny",
        region=read_region(value.get("region"), f"{at}.region"),
        quantization=_read_quantization(value.get("quantization"), f"{at}.quantization"),
        parameters=_read_parameters(value.get("parameters"), f"{at}.parameters"),
    )


def write_declared(facts: Facts) -> dict[str, Any]:
    """Return what ``parse_declared`` reads as these facts; unknown fields are left out."""
    told: dict[str, Any] = {
        "zdr": facts.keeps_nothing,
        "data_collection": "allow" if facts.may_collect else "deny",
    }
    if facts.region is not None:
        told["region"] = facts.region
    if facts.quantization is not None:
        told["quantization"] = facts.quantization
    if facts.parameters is not None:
        told["parameters"] = sorted(facts.parameters)
    return told


def bound_facts(declared: Facts, bounds: Bounds, *, is_trusted: bool) -> Facts:
    """Return what counts of a declaration: of a stranger nothing, of others what bounds allow."""
    if not is_trusted:
        return STRANGER
    keeps_nothing = declared.keeps_nothing and bounds.keeps_nothing is not False
    may_collect = declared.may_collect or bool(bounds.may_collect)
    region = declared.region
    if bounds.regions is not None and region not in bounds.regions:
        region = None
    return replace(
        declared,
        keeps_nothing=keeps_nothing and not bounds.may_collect,
        may_collect=may_collect,
        region=region,
    )


def read_facts(entry: Mapping[str, Any]) -> Facts:
    """Return the facts that a market's book states of an offer; a stranger's where they are odd."""
    stated = entry.get("facts")
    if not isinstance(stated, dict):
        return STRANGER
    named = {name: stated[name] for name in _FIELDS if stated.get(name) is not None}
    try:
        return parse_declared(named)
    except RequestRejected:
        return STRANGER


def read_region(value: Any, at: str) -> str | None:
    """Return a region, None where there is none. Raises 400."""
    if value is None:
        return None
    if not isinstance(value, str) or REGION.fullmatch(value.lower()) is None:
        raise wrong_type(at, "a region of at most 16 letters and digits, such as eu")
    return value.lower()


def _read_quantization(value: Any, at: str) -> str | None:
    if value is None:
        return None
    if value not in QUANTIZATIONS or value == "unknown":
        raise wrong_type(at, f"one of {', '.join(QUANTIZATIONS[:-1])}")
    return str(value)


def _read_parameters(value: Any, at: str) -> frozenset[str] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise wrong_type(at, "a list of a request's fields")
    unknown = sorted(set(value) - PARAMETERS)
    if unknown:
        raise wrong_type(at, f"a list of {', '.join(sorted(PARAMETERS))}")
    return frozenset(value)
