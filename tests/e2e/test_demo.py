"""``current demo`` as a stranger runs it, to the last step; also two at once, one as on Base."""

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.stack.devnet import ROOT

CURRENT = str(Path(sys.executable).with_name("current"))


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([()], id="1"),
        pytest.param([(), ()], id="2", marks=pytest.mark.slow),
        pytest.param([("--like", "base")], id="like-base", marks=pytest.mark.slow),
    ],
)
def test_demo__side_by_side__every_step_holds_in_each(arguments: list[tuple[str, ...]]) -> None:
    demos = [
        subprocess.Popen(
            [CURRENT, "demo", *more],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        for more in arguments
    ]
    outputs = [demo.communicate(timeout=1_200)[0] for demo in demos]
    for demo, said in zip(demos, outputs, strict=True):
        assert demo.returncode == 0, said
        assert "1000.000000 USDC: the whole principal" in said
        assert "to the unit: nothing was lost, nothing was made" in said
