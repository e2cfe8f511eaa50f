"""``current demo`` as a stranger runs it, to the last step; also two at once, one as on Base."""

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.stack.devnet import ROOT
from tests.support.browser import need_pages

CURRENT = str(Path(sys.executable).with_name("current"))


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([("--no-pages",)], id="1"),
        pytest.param([("--no-pages",), ("--no-pages",)], id="2", marks=pytest.mark.slow),
        pytest.param([("--no-pages", "--like", "base")], id="like-base", marks=pytest.mark.slow),
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


@pytest.mark.slow
def test_demo__with_the_pages__a_depositor_needs_nothing_else() -> None:
    need_pages("proxy")
    demo = subprocess.run(
        [CURRENT, "demo"], cwd=ROOT, capture_output=True, text=True, timeout=1_200
    )

    said = demo.stdout + demo.stderr
    if "the pages were not walked" in said:
        pytest.skip(said.partition("the pages were not walked: ")[2].splitlines()[0])
    assert demo.returncode == 0, said
    assert "the same through the pages, 11 steps" in said
