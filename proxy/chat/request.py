"""A request for text, as the proxy takes it: what any server reads of it, and what only the proxy
does. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from proxy.model_aliases import ModelAliases
from serving.dialects.call import Call, LimitRules, build_call, parse_call, read_flag
from serving.dialects.common_form import CommonForm
from serving.dialects.dialect import MESSAGES, RESPONSES, Dialect
from serving.dialects.endpoints import Endpoint
from serving.dialects.native_messages import parse_native_messages
from serving.dialects.policy import ANYBODY, POLICY_FIELD, Policy, parse_policy
from serving.http.errors import bad_request, wrong_type
from serving.http.strict_json import parse_json_object, write_json
from serving.models.grades import Grade

MAX_TOKENS_CAP: Final = 4_096
"""The most output tokens of one choice, whatever the request asks for, unless the operator sets
another cap."""

LIMITS: Final = LimitRules(default=MAX_TOKENS_CAP, cap=MAX_TOKENS_CAP)
CHEAPEST: Final = "cheapest"
_OWN_FIELDS: Final = frozenset({"fit", "max_cost_usdc", "min_discount_pct", "models", POLICY_FIELD})
USER_MAX: Final = 256
"""Characters of a user's name that are kept."""
LABELS_BYTES_MAX: Final = 16 * 1024
MODELS_MAX: Final = 8
"""The most models of one request, to be tried in order."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a client asks: at which endpoint of upstream's, and in whose words."""

    endpoint: Endpoint = Endpoint.CHAT
    """The endpoint that upstream is asked at."""
    dialect: Dialect | None = None
    """The client's dialect, where it has one of its own: translated, unless upstream is asked at
    that dialect's endpoint."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """The dialect's own headers, which go to a provider that speaks it."""

    @property
    def is_translated(self) -> bool:
        """Whether upstream is asked in other words than the client's."""
        return self.dialect is not None and self.endpoint is Endpoint.CHAT

    @property
    def name(self) -> str:
        """The end of the client's path, below /v1/."""
        return self.endpoint if self.dialect is None else self.dialect.name


AS_CHAT: Final = Manner()


@dataclass(frozen=True, slots=True)
class Translation:
    """The dialect of a request that came in another one than upstream is asked in."""

    dialect: Dialect
    form: CommonForm


@dataclass(frozen=True, slots=True)
class MeteredRequest:
    """A request. ``call`` is what goes to upstream."""

    call: Call
    fit: bool
    """Whether the output limit may be lowered to what the hold affords."""
    min_discount_pct: int | None
    translation: Translation | None = None
    max_cost_usdc: int | None = None
    """The most that may be reserved, 1e-6 USDC; None: what the key may."""
    models: tuple[str, ...] = ()
    """Models to be tried in order, the first included; empty where the request names just one."""
    policies: tuple[Mapping[str, Any], ...] = ()
    """The request's own policies of who may serve it, as it says them."""
    dialect: Dialect | None = None
    """The client's dialect, where it has one of its own."""
    minimum_grade: Grade | None = None
    """The lowest provenance of who may serve: what the key's owner demands, else the operator."""

    @property
    def policy(self) -> Policy:
        """What all its policies demand together."""
        return parse_policy(list(self.policies)) if self.policies else ANYBODY


def parse_request(
    raw: bytes,
    limits: LimitRules = LIMITS,
    *,
    manner: Manner = AS_CHAT,
    aliases: ModelAliases | None = None,
) -> MeteredRequest:
    """Read a request body. Raises ``RequestRejected`` (400), naming the field."""
    if manner.dialect is not None and manner.is_translated:
        request = parse_translated(raw, manner.dialect, limits, aliases=aliases)
    elif manner.dialect is MESSAGES:
        body = _read_body(raw, aliases)
        headers = manner.headers
        call = parse_native_messages(body, limits, own_fields=_OWN_FIELDS, headers=headers)
        request = _read_own(call, None)
    else:
        if manner.dialect is RESPONSES:
            limits = replace(limits, default=limits.cap)  # as where it is translated
        request = _read_own(parse_call(manner.endpoint, raw, limits, own_fields=_OWN_FIELDS), None)
    return request if manner.dialect is None else replace(request, dialect=manner.dialect)


def _read_body(raw: bytes, aliases: ModelAliases | None) -> dict[str, Any]:
    body = parse_json_object(raw)
    if aliases is not None and isinstance(body.get("model"), str):
        # Which fields a model takes goes by its own name.
        body["model"] = aliases.resolve(body["model"])
    return body


def parse_translated(
    raw: bytes,
    dialect: Dialect,
    limits: LimitRules = LIMITS,
    *,
    aliases: ModelAliases | None = None,
) -> MeteredRequest:
    """Read a body in another dialect as the chat request that it comes to. Raises as above."""
    body = _read_body(raw, aliases)
    if dialect is RESPONSES:
        # Its clients name no limit, and expect as much as there is.
        limits = replace(limits, default=limits.cap)
    form = dialect.read(body)
    call = build_call(
        Endpoint.CHAT,
        form.body,
        write_json(form.body),
        limits,
        own_fields=_OWN_FIELDS,
        extras=form.extras,
        renames_limit=True,
    )
    return _read_own(call, Translation(dialect, form))


def _read_own(call: Call, translation: Translation | None) -> MeteredRequest:
    minimum_pct = _read_min_discount(call.own)
    models = _read_models(call) if "models" in call.own else ()
    max_cost_usdc = _read_max_cost(call.own)
    fit = read_flag(call.own, "fit")
    policies = _read_policies(call.own.get(POLICY_FIELD))
    return MeteredRequest(call, fit, minimum_pct, translation, max_cost_usdc, models, policies)


def _read_policies(said: Any) -> tuple[Mapping[str, Any], ...]:
    parse_policy(said)  # raises where it makes no sense
    if said is None:
        return ()
    return tuple(one for one in (said if isinstance(said, list) else [said]) if one)


def _read_max_cost(own: Mapping[str, Any]) -> int | None:
    value = own.get("max_cost_usdc")
    if value is not None and (type(value) is not int or not 0 <= value < 2**63):
        raise wrong_type("max_cost_usdc", "a whole number of 1e-6 USDC")
    return value


def read_user(body: Mapping[str, Any]) -> str | None:
    """Return whom a request is for, in the buyer's own words; None where it does not say."""
    user = body.get("user")
    # PostgreSQL keeps no NUL.
    return user.replace("\0", "")[:USER_MAX] if user and isinstance(user, str) else None


def read_labels(body: Mapping[str, Any]) -> str | None:
    """Return the texts of a request's metadata as JSON; None without any, or with too many."""
    said = body.get("metadata")
    if not said or not isinstance(said, dict):
        return None
    texts = {
        name: text
        for name, text in said.items()
        if isinstance(text, str) and "\0" not in name and "\0" not in text
    }
    labels = orjson.dumps(texts)
    return labels.decode() if 2 < len(labels) <= LABELS_BYTES_MAX else None


def _read_models(call: Call) -> tuple[str, ...]:
    named = call.own["models"]
    if named is None:
        return ()
    is_list = isinstance(named, list) and len(named) <= MODELS_MAX
    if not is_list or not all(isinstance(name, str) and 0 < len(name) <= 200 for name in named):
        raise wrong_type("models", f"a list of at most {MODELS_MAX} models")
    return tuple(dict.fromkeys([call.model, *named])) if named else ()


def _read_min_discount(own: Mapping[str, Any]) -> int | None:
    if "min_discount_pct" not in own:
        return None
    value = own["min_discount_pct"]
    if type(value) is not int or not 0 <= value <= 100:
        message = "'min_discount_pct' must be an integer from 0 to 100."
        raise bad_request("invalid_minimum_discount", message, param="min_discount_pct")
    return value
