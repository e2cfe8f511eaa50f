"""Find the local chain's binary.

Standard library only, and no syntax newer than Python 3.8: ``scripts.setup`` imports it before
anything is installed.
"""

from __future__ import annotations

import platform
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_SYSTEMS = {"Linux": "linux", "Darwin": "darwin", "Windows": "win32"}
_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def anvil_package() -> str:
    """Name the npm package that holds anvil for this system.

    Raises LookupError when there is none.
    """
    system = _SYSTEMS.get(platform.system())
    machine = _MACHINES.get(platform.machine().lower())
    if system is None or machine is None:
        raise LookupError(
            f"there is no anvil for {platform.system()} on {platform.machine()}; "
            "Linux and macOS on x86-64 or ARM64 have one"
        )
    return f"@foundry-rs/anvil-{system}-{machine}"


def anvil_path(root: Path = ROOT) -> Path:
    """Return the binary itself, not npm's launcher: a launcher would be one more process to stop.

    Raises LookupError when it is not installed or not made for this system.
    """
    package = anvil_package()
    name = "anvil.exe" if "win32" in package else "anvil"
    path = root / "node_modules" / package / "bin" / name
    if not path.is_file():
        raise LookupError(f"anvil is not installed ({package}); `make setup` installs it")
    return path
