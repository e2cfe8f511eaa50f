"""A server whose application does not start: a sentence, the exit code, no traceback of it."""

import os
import subprocess
import sys

import pytest

from scripts.stack.anvil_path import ROOT

SERVER = """
import sys
from contextlib import asynccontextmanager

from fastapi import FastAPI
from pydantic_settings import SettingsConfigDict

from contracts.errors import Fatal, Retryable
from serving.http.run import run
from serving.http.settings import ServerSettings
from serving.process.command_line import command


class Settings(ServerSettings):
    model_config = SettingsConfigDict(env_prefix="DOOMED_")


def build(settings):
    @asynccontextmanager
    async def lifespan(app):
        raise {"fatal": Fatal, "retryable": Retryable, "bug": KeyError}[sys.argv[1]]("the reason")
        yield

    return FastAPI(lifespan=lifespan)


@command("doomed", is_service=True)
def doomed():
    run(Settings, build)


doomed([])
"""


@pytest.mark.parametrize(
    ("failure", "code", "sentence"),
    [
        ("retryable", 1, "Error: the reason"),
        ("fatal", 2, "Error: the reason"),
        ("bug", 1, "Error: the server did not start; the log says why"),
    ],
)
def test_run__application_does_not_start__says_why_and_ends(
    failure: str, code: int, sentence: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SERVER, failure],
        cwd=ROOT,
        env={
            **os.environ,
            "DOOMED_PORT": "0",
            "DOOMED_RPC_URL": "http://127.0.0.1:9",
            "DOOMED_LEDGER_URL": "sqlite:///nowhere",
            "DOOMED_DEPLOYMENT_FILE": "nowhere",
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == code, ended.stderr
    assert ended.stderr.splitlines()[-1] == sentence
    # Where the cause is a bug of ours, its traceback is what helps.
    assert ("Traceback" in ended.stderr + ended.stdout) is (failure == "bug")
