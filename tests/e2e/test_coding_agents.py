"""Claude Code and Codex CLI edit a file through the proxy, set up by the blocks of docs/clients.md.

A scripted model stands at the outer edge: it reads the file, changes it by the agent's own tools,
and says that it is done. Everything between is real: the agents, their dialects, the charges.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from bench.install import npm_stage, prepare
from bench.report import BenchError
from scripts.stack.anvil_path import ROOT
from tests.e2e.test_agents import Server, run_proxy
from tests.support.answers import MODEL, USAGE, make_answer
from tests.support.clients import read_client_block
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger
from tests.support.waiting import LIMIT_S, until_it

pytestmark = pytest.mark.slow

FOLDER: Final = ROOT / "tests" / "e2e" / "agents"
CLAUDE: Final = FOLDER / "node_modules/@anthropic-ai/claude-code-linux-x64/claude"
CODEX: Final = (
    FOLDER / "node_modules/@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex"
)
ASKED: Final = "In greet.py, change hello to goodbye."
DONE: Final = "It says goodbye now."


def play_coder(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Answer as a model that edits: it looks, then changes, then tells."""
    answer = make_answer(path, body, text=DONE, usage=USAGE)
    names = [tool["function"]["name"] for tool in body.get("tools") or ()]
    results = [one for one in body["messages"] if one["role"] == "tool"]
    steps = list_steps(names)
    if len(results) < len(steps):
        name, arguments = steps[len(results)]
        (choice,) = answer["choices"]
        function = {"name": name, "arguments": json.dumps(arguments)}
        call = {"id": f"call_{len(results)}", "type": "function", "function": function}
        choice["message"] = {"role": "assistant", "content": None, "tool_calls": [call]}
        choice["finish_reason"] = "tool_calls"
    return answer


def list_steps(names: list[str]) -> list[tuple[str, dict[str, Any]]]:
    """Return the calls that change the file, by the tools that an agent has."""
    change = "sed -i s/hello/goodbye/ greet.py"
    if "Edit" in names and "Read" in names:
        edit = {"old_string": "hello", "new_string": "goodbye"}
        where = {"file_path": str(Path(os.environ["CURRENT_TEST_FOLDER"]) / "greet.py")}
        return [("Read", where), ("Edit", {**where, **edit})]
    for name, arguments in (
        ("exec_command", {"cmd": change}),
        ("shell_command", {"command": change}),
        ("shell", {"command": ["bash", "-lc", change]}),
    ):
        if name in names:
            return [(name, arguments)]
    return []


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    try:
        prepare([npm_stage(FOLDER)])
    except BenchError as error:
        pytest.skip(str(error))
    monkeypatch.setenv("CURRENT_TEST_FOLDER", str(tmp_path / "work"))
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "greet.py").write_text('print("hello")\n')
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    async with (
        FakeEndpoint(build=play_coder, streams_built=True) as model,
        run_proxy(engine, tmp_path, model.url) as server,
    ):
        yield server
    engine.dispose()


async def test_claude_code__edits_a_file__and_each_request_is_charged(
    server: Server, tmp_path: Path
) -> None:
    block = read_client_block("Claude Code", url=server.url, model=MODEL)
    options = "--output-format json --permission-mode acceptEdits --allowedTools Read,Edit"

    said = await run(f'{block}\nexec {CLAUDE} -p "{ASKED}" {options}', server, tmp_path)

    assert json.loads(said)["result"] == DONE
    await check(server, tmp_path, requests=3)


async def test_codex__edits_a_file__and_each_request_is_charged(
    server: Server, tmp_path: Path
) -> None:
    home = tmp_path / ".codex"
    home.mkdir()
    (home / "config.toml").write_text(read_client_block("Codex CLI", url=server.url, model=MODEL))
    options = "--skip-git-repo-check --sandbox danger-full-access --json"

    said = await run(f'exec {CODEX} exec {options} "{ASKED}"', server, tmp_path)

    items = [json.loads(line).get("item", {}) for line in said.splitlines()]
    assert [one["text"] for one in items if one.get("type") == "agent_message"][-1] == DONE
    await check(server, tmp_path, requests=2)


async def run(script: str, server: Server, folder: Path) -> str:
    """Run a shell script in the folder with the file, with a home and a key; return its output."""
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", script),
        cwd=folder / "work",
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "CURRENT_API_KEY": server.key},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        said, complained = await asyncio.wait_for(process.communicate(), 2 * LIMIT_S)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, said.decode() + complained.decode()
    return said.decode()


async def check(server: Server, folder: Path, *, requests: int) -> None:
    """Check that the file was changed, and that every request was charged, once."""
    assert (folder / "work" / "greet.py").read_text() == 'print("goodbye")\n'

    async def are_charged() -> bool:
        costs_usdc = await server.costs_usdc()
        return len(costs_usdc) >= requests and None not in costs_usdc

    await until_it(are_charged)
    assert len(set(await server.costs_usdc())) == 1, "the same tokens cost the same"
