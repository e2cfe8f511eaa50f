"""A model's reasoning between dialects, and how it comes back with the next turn. Pure.

Models that reason between calls want their own reasoning back. Other dialects carry with it a
signature or encrypted content that only its maker reads. Here that is a **seal**: in which field of
the common form the reasoning stood, and what stood there beside its text. A seal that was not made
here is of another provider, whose reasoning no other model can read: it is left out.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from serving.dialects.encoding import write

FIELDS: Final = ("reasoning_content", "reasoning")
"""Names of a message's reasoning as text, the more common one first."""

DETAILS: Final = "reasoning_details"

RETURNED: Final = frozenset({*FIELDS, DETAILS})
"""The fields of a message in which reasoning goes back to its model."""

SEAL_MARK: Final = "current1."


@dataclass(slots=True)
class Reasoning:
    """One piece of reasoning, or all of it."""

    text: str
    field_name: str
    details: list[Any] = field(default_factory=list)
    """The provider's own objects, as they came."""

    def extend(self, later: "Reasoning") -> None:
        """Take in the next piece, but for its text: the part that it is of has that."""
        for detail in later.details:
            self._add_detail(detail)

    def _add_detail(self, detail: Any) -> None:
        last = self.details[-1] if self.details else None
        if isinstance(last, dict) and isinstance(detail, dict) and _continues(last, detail):
            for name in ("text", "summary"):
                if isinstance(detail.get(name), str):
                    last[name] = (last.get(name) or "") + detail[name]
            for name, value in detail.items():
                if name not in ("text", "summary") and value is not None:
                    last[name] = value
            return
        self.details.append(dict(detail) if isinstance(detail, dict) else detail)


def restore_all(reasonings: Sequence[Reasoning]) -> dict[str, Any]:
    """Return the fields of a message that hold all reasoning of a turn, in its order.

    A dialect closes one piece before a call or a text, and begins another after it; in the common
    form they are one text, and one list of the provider's objects.
    """
    if not reasonings:
        return {}
    text = "".join(one.text for one in reasonings)
    details = [detail for one in reasonings for detail in one.details]
    restored: dict[str, Any] = {reasonings[0].field_name: text} if text else {}
    return {**restored, DETAILS: details} if details else restored


def _continues(last: Mapping[str, Any], detail: Mapping[str, Any]) -> bool:
    same = all(last.get(name) == detail.get(name) for name in ("type", "index"))
    return same and detail.get("type") in ("reasoning.text", "reasoning.summary")


def find_reasoning(message: Mapping[str, Any]) -> Reasoning | None:
    """Return the reasoning in a message or a piece of one; once where several names hold it."""
    details = message.get(DETAILS)
    kept = [one for one in details if isinstance(one, dict)] if isinstance(details, list) else []
    for name in FIELDS:
        text = message.get(name)
        if text and isinstance(text, str):
            return Reasoning(text, name, kept)
    if kept:
        said = (one.get("text") or one.get("summary") for one in kept)
        return Reasoning("".join(s for s in said if isinstance(s, str)), FIELDS[1], kept)
    thought = _find_thinking_part(message.get("content"))
    return None if thought is None else Reasoning(thought, FIELDS[0])


def _find_thinking_part(content: Any) -> str | None:
    """Return the reasoning that stands as a part of the content, as one provider sends it."""
    if not isinstance(content, list):
        return None
    for part in content:
        if isinstance(part, dict) and part.get("type") == "thinking":
            inner = part.get("thinking")
            if isinstance(inner, list):
                inner = "".join(str(one.get("text", "")) for one in inner if isinstance(one, dict))
            return inner if isinstance(inner, str) and inner else None
    return None


def seal(reasoning: Reasoning, *, has_text: bool) -> str:
    """Return what carries reasoning back; ``has_text``: the text goes with it by itself."""
    said: dict[str, Any] = {"f": reasoning.field_name}
    if not has_text:
        said["t"] = reasoning.text
    if reasoning.details:
        said["d"] = reasoning.details
    return SEAL_MARK + urlsafe_b64encode(write(said)).decode()


def unseal(sealed: Any, *, text: str = "") -> Reasoning | None:
    """Return the reasoning that a seal carries; None where it was not made here."""
    if not isinstance(sealed, str) or not sealed.startswith(SEAL_MARK):
        return None
    try:
        said = orjson.loads(urlsafe_b64decode(sealed[len(SEAL_MARK) :]))
    except ValueError:
        return None
    if not isinstance(said, dict) or said.get("f") not in FIELDS:
        return None
    inner, details = said.get("t", text), said.get("d", [])
    if not isinstance(inner, str) or not isinstance(details, list):
        return None
    return Reasoning(inner, said["f"], details)
