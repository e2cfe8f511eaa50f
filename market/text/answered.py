"""Whether the model that answered is the one that was sold. Pure.

::

    the endpoint's name is the model's own      another model's name in the answer is refused
                                                no name, or one that says nothing: accepted
    the endpoint has a name of its own for it   only an answer that names the model is accepted
    nobody knows the model                      nothing can be told from names

A server can call itself what it likes; a provider that a seller resells says what it runs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from market.identity.same_model import FindId, ModelNames, Named, know_no_id
from serving.models.failures import Cause, UpstreamFailure

SHOWN_MAX = 100
"""Characters of an answer's name that are kept as evidence."""


@dataclass(frozen=True, slots=True)
class AnswerCheck:
    """What is known of models' names."""

    names: ModelNames
    is_priced: Callable[[str], bool]
    """Tells whether a name has a reference price."""
    find_id: FindId = know_no_id
    """Returns which model the public list of prices takes a name for."""

    def is_known(self, model: str) -> bool:
        """Tell whether a name is that of a model which others sell or make too."""
        return self.names.is_of_a_family(model) or self.is_priced(model)

    def is_another(self, upstream_model: str, *, sold: str) -> bool:
        """Tell whether an endpoint's name for a model is the name of another model."""
        return self.is_known(sold) and self._judge(upstream_model, sold) is Named.OTHER

    def check(self, answered: Any, *, asked: str, sold: str) -> None:
        """Check an answer's own ``model``. Raises ``UpstreamFailure`` with what it said.

        ``asked`` is the endpoint's name for the model, ``sold`` the one that the buyer asked for.
        """
        if not self.is_known(sold):
            return
        is_confirmed = self._judge(asked, sold) is Named.SAME
        if not isinstance(answered, str) or not answered.strip():
            if is_confirmed:
                return
            said = "the answer does not say which model it is"
        else:
            named = self._judge(answered, sold)
            if named is Named.SAME or (named is Named.NOTHING and is_confirmed):
                return
            said = f"the answer is of {answered[:SHOWN_MAX]!r}"
        raise UpstreamFailure(Cause.WRONG_MODEL, message=f"sold as {sold!r}: {said}")

    def _judge(self, name: str, sold: str) -> Named:
        return self.names.judge(name, sold=sold, is_priced=self.is_priced, find_id=self.find_id)
