"""Operations: what of an API may be called, what a call takes of the quota, what counts. Pure.

Everything is denied that is not listed: ``METHOD /path/{parameter}``, or the operations of an
OpenAPI document (``market.resale.openapi_import``).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import orjson

from market.pricing.amounts import parse_millionths
from market.resale.call_paths import PathRefused, PathTemplate, parse_template

OPERATIONS_MAX: Final = 500
UNITS_MAX: Final = 1_000_000
PRICE_USD_MAX: Final = 10_000
CACHE_S_MAX: Final = 86_400
PARAMETERS_MAX: Final = 200
SCHEMA_BYTES_MAX: Final = 16_384
"""Of an operation's schema, and of its example: strangers are shown them."""
PLACES: Final = ("path", "query", "header", "cookie")
USUAL_METHODS: Final = ("GET", "POST")
OTHER_METHODS: Final = ("PUT", "PATCH", "DELETE")
_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_COUNT: Final = re.compile(r"[24](?:xx|[0-9]{2})")
_NEVER_COUNTED: Final = frozenset({"401", "402", "403", "407", "429"})
"""What an API says of the subscription, not of the call: no answer, so nobody pays for it."""
_NEVER_PASSED: Final = re.compile(
    r"(?:cookie|authorization|proxy-.*|x-forwarded-.*|forwarded|x-real-ip|host|connection|te"
    r"|trailer|transfer-encoding|upgrade|keep-alive|content-length|content-encoding|expect"
    r"|via|x-payment|payment-signature|idempotency-key|x-http-method.*|x-method-override"
    r"|x-original-url|x-rewrite-url|accept-encoding|range)"
)
_FIELDS: Final = frozenset(
    {
        "method", "path", "units", "units_from", "units_max", "price_usd", "count_on", "query",
        "headers", "cache_s", "cached_price_usd", "summary", "input_schema", "output_example",
        "batch",
    }
)  # fmt: skip


class TermsRefused(ValueError):
    """What an owner says of a connection cannot be; the text says why, ``param`` where."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True, slots=True)
class Operation:
    """One kind of call. Prices in 1e-6 USDC."""

    method: str
    template: PathTemplate
    units: int = 1
    """What a call takes of the quota, where the answer does not say it."""
    units_from: str | None = None
    """``header: NAME`` or ``json: a.b``: where an answer says what it took."""
    units_max: int = 1
    """The most that a call can take, and that is reserved for it."""
    price_usdc: int | None = None
    """What a call costs; None: its units at the connection's price."""
    count_on: tuple[str, ...] = ("2xx",)
    query: frozenset[str] | None = None
    """The query's parameters that may be sent; None: any."""
    headers: frozenset[str] = frozenset()
    """Further headers that are passed on, lower case."""
    cache_s: int = 0
    """How long an answer is sold again, in seconds."""
    cached_price_usdc: int | None = None
    """What a cached answer costs; None: what a call does."""
    summary: str = ""
    input_schema: Any = None
    output_example: Any = None
    batch: bool = False
    """Whether a JSON body may be an array, or a GraphQL document."""
    shadows: tuple[re.Pattern[str], ...] = ()
    """Paths that the template has too, and that are other operations of the API: not sold."""

    @property
    def name(self) -> str:
        """``METHOD /path/{parameter}``."""
        return f"{self.method} {self.template.text}"

    def match(self, segments: Sequence[str]) -> Mapping[str, str] | None:
        """Return the parameters of a path of this operation, else None."""
        found = self.template.match(segments)
        if found is not None and self.shadows:
            path = "/".join(segments)
            if any(shadow.fullmatch(path) is not None for shadow in self.shadows):
                return None
        return found

    def counts(self, status: int) -> bool:
        """Tell whether an answer with this HTTP status is charged."""
        return f"{status // 100}xx" in self.count_on or str(status) in self.count_on


def parse_operations(value: Any, *, methods: Sequence[str]) -> tuple[Operation, ...]:
    """Return the operations of a list: texts, or objects. Raises ``TermsRefused``."""
    if not isinstance(value, list) or not 1 <= len(value) <= OPERATIONS_MAX:
        raise TermsRefused(f"must be a list of 1 to {OPERATIONS_MAX} operations", "operations")
    found = [_parse_operation(item, methods) for item in value]
    seen: set[tuple[str, tuple[object, ...]]] = set()
    for operation in found:
        # Two templates that differ in the names of their parameters only are one.
        shape = tuple(
            None if is_parameter else text for text, is_parameter in operation.template.parts
        )
        if (operation.method, shape) in seen:
            raise TermsRefused(f"has {operation.name!r} twice", "operations")
        seen.add((operation.method, shape))
    return tuple(sorted(found, key=lambda one: (one.template.rank, one.name)))


def find_operation(
    operations: Iterable[Operation], method: str, segments: Sequence[str]
) -> tuple[Operation, Mapping[str, str]] | None:
    """Return the operation of a call with its path's parameters; literal segments win."""
    for operation in operations:
        if operation.method == method:
            parameters = operation.match(segments)
            if parameters is not None:
                return operation, parameters
    return None


def list_methods(operations: Iterable[Operation], segments: Sequence[str]) -> list[str]:
    """Return the methods that a path may be called with."""
    return sorted({one.method for one in operations if one.match(segments) is not None})


def _parse_operation(item: Any, methods: Sequence[str]) -> Operation:
    if isinstance(item, str):
        method, _, path = item.strip().partition(" ")
        item = {"method": method, "path": path.strip()}
    if not isinstance(item, Mapping):
        raise TermsRefused("must hold texts like 'GET /v1/{id}', or objects", "operations")
    unknown = sorted(set(map(str, item)) - _FIELDS)
    if unknown:
        raise TermsRefused(f"has an unknown field {unknown[0][:60]!r}", "operations")
    method = str(item.get("method", "")).upper()
    if method not in methods:
        allowed = ", ".join(methods)
        raise TermsRefused(
            f"has the method {method[:20]!r}: {allowed} may be sold"
            " ('allow_methods' adds PUT, PATCH, DELETE)",
            "operations",
        )
    try:
        template = parse_template(str(item.get("path", "")))
    except PathRefused as error:
        raise TermsRefused(f"{error}", "operations") from None
    units = read_integer(item, "units", default=1, low=0, high=UNITS_MAX)
    units_from = read_source(item.get("units_from"))
    units_max = read_integer(item, "units_max", default=units, low=units, high=UNITS_MAX)
    if units_from is not None and "units_max" not in item:
        raise TermsRefused("with 'units_from' must state 'units_max', its bound", "operations")
    return Operation(
        method=method,
        template=template,
        units=units,
        units_from=units_from,
        units_max=units_max,
        price_usdc=read_usd(item, "price_usd"),
        count_on=_read_counts(item.get("count_on")),
        query=_read_names(item.get("query"), "query"),
        headers=_read_headers(item.get("headers")),
        cache_s=read_integer(item, "cache_s", default=0, low=0, high=CACHE_S_MAX),
        cached_price_usdc=read_usd(item, "cached_price_usd"),
        summary=_read_summary(item.get("summary", "")),
        input_schema=_read_schema(item.get("input_schema")),
        output_example=_read_shown(item.get("output_example"), "output_example"),
        batch=read_bool(item, "batch"),
    )


def read_bool(item: Mapping[str, Any], name: str) -> bool:
    """Return a yes or no of a mapping, no where there is none. Raises ``TermsRefused``."""
    value = item.get(name)
    if value is not None and not isinstance(value, bool):
        raise TermsRefused("must be true or false", name)
    return value is True


def measure(value: Any) -> int | None:
    """Return how long a value is as JSON, in bytes; None where JSON cannot hold it."""
    try:
        return len(orjson.dumps(value, default=str))
    except (TypeError, ValueError, RecursionError):
        return None


def _read_shown(value: Any, name: str) -> Any:
    size = measure(value)
    if size is None or size > SCHEMA_BYTES_MAX:
        raise TermsRefused(
            f"{name!r} must be JSON of at most {SCHEMA_BYTES_MAX} bytes", "operations"
        )
    return value


def _read_summary(value: Any) -> str:
    if not isinstance(value, str) or measure(value) is None:
        raise TermsRefused("'summary' must be text", "operations")
    return value[:500]


def _read_schema(value: Any) -> Any:
    """Return a schema in which every part that is shown is of its kind."""
    if value is None:
        return None
    problem = "'input_schema' must be an object; its 'parameters' a list of objects"
    if not isinstance(value, Mapping):
        raise TermsRefused(problem, "operations")
    listed = value.get("parameters", [])
    if not isinstance(listed, list) or len(listed) > PARAMETERS_MAX:
        raise TermsRefused(problem, "operations")
    for one in listed:
        if (
            not isinstance(one, Mapping)
            or not isinstance(one.get("name"), str)
            or one.get("in") not in PLACES
            or not isinstance(one.get("schema", {}), Mapping | bool)
        ):
            raise TermsRefused(
                f"{problem} with 'name', 'in' ({', '.join(PLACES)}) and 'schema'", "operations"
            )
    if not isinstance(value.get("body", {}), Mapping | bool):
        raise TermsRefused("the 'body' of 'input_schema' must be a schema", "operations")
    return _read_shown(value, "input_schema")


def read_integer(item: Mapping[str, Any], name: str, *, default: int, low: int, high: int) -> int:
    """Return a whole number of a mapping. Raises ``TermsRefused``."""
    value = item.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise TermsRefused(f"must be a whole number from {low} to {high}", name)
    return value


def read_usd(item: Mapping[str, Any], name: str) -> int | None:
    """Return an amount in US dollars as 1e-6 USDC, None where there is none."""
    value = item.get(name)
    if value is None:
        return None
    try:
        # YAML has floats where JSON was read as decimals: their shortest spelling is meant.
        exact = Decimal(repr(value)) if isinstance(value, float) else value
        return parse_millionths(exact, maximum=PRICE_USD_MAX)
    except (ValueError, ArithmeticError) as error:
        raise TermsRefused(f"{error}", name) from None


def read_source(value: Any, *, name: str = "units_from", param: str = "operations") -> str | None:
    """Return where an answer says a number: ``header: NAME`` or ``json: a.b``. Raises
    ``TermsRefused``."""
    if value is None:
        return None
    kind, _, where = str(value).partition(":")
    where = where.strip()
    is_path = kind == "json" and 0 < len(where) <= 200
    if not is_path and not (kind == "header" and _NAME.fullmatch(where)):
        raise TermsRefused(f"{name!r} must be 'header: NAME' or 'json: a.b'", param)
    return f"{kind}: {where}"


def _read_counts(value: Any) -> tuple[str, ...]:
    if value is None:
        return ("2xx",)
    counts = [str(one) for one in value] if isinstance(value, list) else []
    if not counts or len(counts) > 20 or not all(_COUNT.fullmatch(one) for one in counts):
        raise TermsRefused(
            "'count_on' must list statuses of answers: '2xx', '404' and such", "operations"
        )
    never = sorted(_NEVER_COUNTED & set(counts))
    if never:
        raise TermsRefused(
            f"'count_on' has {never[0]}: that is the API's word on the subscription, not an answer",
            "operations",
        )
    return tuple(counts)


def _read_names(value: Any, name: str) -> frozenset[str] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > 100:
        raise TermsRefused(f"{name!r} must be a list of at most 100 names", "operations")
    names = frozenset(str(one) for one in value)
    if not all(0 < len(one) <= 100 and one.isprintable() for one in names):
        raise TermsRefused(f"{name!r} has a name that cannot be sent", "operations")
    return names


def may_pass(header: str) -> bool:
    """Tell whether a consumer's header of this name, in lower case, may reach an API."""
    return _NAME.fullmatch(header) is not None and _NEVER_PASSED.fullmatch(header) is None


def _read_headers(value: Any) -> frozenset[str]:
    names = frozenset(one.lower() for one in (_read_names(value, "headers") or ()))
    for one in names:
        if not may_pass(one):
            raise TermsRefused(f"the header {one!r} is never passed on", "operations")
    return names
