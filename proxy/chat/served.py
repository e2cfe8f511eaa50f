"""What a receipt says of who served: as the market states it, and by the answer's own word."""

import secrets
from typing import Any, Final

from ledger.spending.receipts import SALT_BYTES, ServedNote
from serving.models.grades import ServedBy

MODEL_LENGTH_MAX: Final = 200


class ServedNotes:
    """Writes the note of one request: again, it is the same, so that a post can be repeated."""

    def __init__(self, served_by: ServedBy | None, *, upstream_name: str) -> None:
        self._served_by = served_by
        self._upstream_name = upstream_name
        self._salt = secrets.token_hex(SALT_BYTES)

    def write(self, model: Any) -> str:
        """Return the note; ``model`` is what the answer calls the model that answered, if it does.

        Where upstream is no market, the seller is upstream by its name, and nothing is graded.
        """
        served = self._served_by
        return ServedNote(
            seller=self._upstream_name if served is None else served.seller,
            seller_salt=self._salt,
            offer_id="" if served is None else served.offer_id,
            host="" if served is None else served.host,
            model=_clean(model),
            grade="" if served is None else served.grade.value,
        ).write()


def _clean(model: Any) -> str:
    """Return a name as the ledger and a leaf can hold it; empty where there is none."""
    if not isinstance(model, str):
        return ""
    # PostgreSQL holds no NUL, and UTF-8 no half of a surrogate pair.
    return model[:MODEL_LENGTH_MAX].replace("\0", "").encode(errors="replace").decode()
