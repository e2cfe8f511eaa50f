"""A deployment that is well, for tests that break one thing of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.keepers import Stage
from tests.support.wards import Ward, admit


@pytest.fixture
def ward(stage: Stage, tmp_path: Path) -> Iterator[Ward]:
    with admit(stage, tmp_path) as ward:
        yield ward
