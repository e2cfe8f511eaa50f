"""``.env.example`` and ``docs/settings.md`` name every setting, with its default."""

from pathlib import Path

import pytest

from scripts.export_settings import PAGES


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_settings_pages__as_committed__are_what_the_classes_say(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == PAGES[path]()
