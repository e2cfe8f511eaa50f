"""Files that the documents name, by paths from the project's root, are there."""

import re

import pytest

from scripts.stack.devnet import ROOT
from tests.support.documents import Document, load_documents

_PATH = re.compile(
    r"`((?:tests|docs|scripts|bench|contracts|keeper|indexer|ledger|market|proxy|serving)/[\w./-]+\.\w+)"
)
DOCUMENTS = [pytest.param(document, id=document.name) for document in load_documents()]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_path__named__is_a_file(document: Document) -> None:
    named = [path for path in _PATH.findall(document.text) if "/results/" not in path]
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_paths__of_the_threat_model__are_found() -> None:
    (security,) = [one for one in load_documents() if one.name.endswith("security.md")]
    assert len(_PATH.findall(security.text)) > 20
