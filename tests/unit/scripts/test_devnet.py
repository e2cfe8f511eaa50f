"""Waiting for a step of the local stack: what is said meanwhile, and what ends it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from scripts.stack.devnet import DevnetError, wait_for


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def stack(said: list[str]) -> Any:
    directory = SimpleNamespace(logs=Path("/logs"))
    return SimpleNamespace(say=said.append, check=lambda: None, directory=directory)


def test_wait_for__not_at_once__says_what_it_waits_for(stack: Any, said: list[str]) -> None:
    answers = iter([None, None, "there"])

    assert wait_for("the harvest", lambda: next(answers), stack, say_every_s=0) == "there"

    assert said == ["waiting for the harvest (0 s)"] * 2


def test_wait_for__server_starts_again__asks_once_more(stack: Any) -> None:
    answers = iter([False, True])

    def check() -> bool:
        if not next(answers):
            raise httpx.ConnectError("refused")
        return True

    assert wait_for("the proxy", check, stack) is True


def test_wait_for__too_long__names_it_and_the_logs(stack: Any) -> None:
    with pytest.raises(DevnetError, match="the harvest did not happen within 0 s; logs: /logs"):
        wait_for("the harvest", lambda: None, stack, timeout_s=0)
