"""``current receipt verify``: where the key comes from, so that no list of processes shows it."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from scripts.cli import commands
from scripts.stack.up import StackRecord
from tests.support.http_fakes import SetUpstream


@pytest.mark.parametrize("place", ["file", "file's variable", "variable", "argument"])
def test_key__from_each_place__is_shown_to_the_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    key_file = tmp_path / "key"
    key_file.write_text("current_0_0_abc\n")
    words = {
        "file": ["--api-key-file", str(key_file)],
        "argument": ["--api-key", "current_0_0_abc"],
    }
    environment = {
        "file's variable": {"CURRENT_API_KEY_FILE": str(key_file)},
        "variable": {"CURRENT_API_KEY": "current_0_0_abc"},
    }
    with SetUpstream() as proxy:
        record = StackRecord(proxy.url, "sqlite://", str(tmp_path / "31337.json"), proxy.url)
        monkeypatch.setattr("scripts.checks._load_stack", lambda _name: record)
        ended = CliRunner(mix_stderr=False).invoke(
            commands,
            ["receipt", "verify", "request", *words.get(place, [])],
            env=environment.get(place, {}),
        )

    ((path, headers),) = proxy.seen
    assert path == "/receipts/request"
    assert headers["Authorization"] == "Bearer current_0_0_abc"
    assert "answered 404" in ended.stderr
