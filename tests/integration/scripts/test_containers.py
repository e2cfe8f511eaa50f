"""The image and the compose file, as far as they can be held against the project without a daemon.

::

    Dockerfile   every source that it copies is in the clone and not kept from the builder; every
                 command is one that this project has; what runs is nobody with rights
    locks        are what requirements.lock says now; the processes load with nothing but them
    compose      each service's settings are what its process's class takes; nothing is published
                 to the world; docker-compose accepts it, where there is one

Not run here: building the image, and starting it. That needs a daemon and base images.
"""

import importlib.metadata as metadata
import ipaddress
import json
import re
import shlex
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from click.testing import CliRunner

from proxy.settings import ProxySettings
from scripts.build_wheel import FILES, PAGES, ROOMS, ROOT
from scripts.cli import commands
from scripts.doctor.patient import CLASSES
from scripts.folder.compose import IMAGE, USER_ID, find_database_password
from scripts.folder.environment import read_env_file
from scripts.runtime_lock import BUILD, RUNTIME, build_locks, read_lock
from tests.support.keepers import write_record
from tests.support.ledgers import DEPLOYMENT

DOCKERFILE: Final = ROOT / "containers" / "Dockerfile"
WORDS: Final = (
    "--containers", "--domain", "ai.example", "--market-domain", "market.example",
    "--rpc-url", "http://a.example/token", "--proxies", "2",
)  # fmt: skip
Instruction = tuple[str, str]


def read_stages() -> dict[str, list[Instruction]]:
    """Return the instructions of each stage by its name; what stands before them by ``""``."""
    stages: dict[str, list[Instruction]] = {"": []}
    name = ""
    for line in DOCKERFILE.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        word, _, rest = line.partition(" ")
        if word == "FROM":
            image, _, name = rest.partition(" AS ")
            stages[name] = [("FROM", image)]
        else:
            stages[name].append((word, rest))
    return stages


STAGES: Final = read_stages()


def list_copied() -> list[str]:
    """Return what is copied out of the clone."""
    found = []
    for instructions in STAGES.values():
        for word, rest in instructions:
            if word == "COPY" and not rest.startswith("--from="):
                found += shlex.split(rest)[:-1]
    return found


def test_dockerfile__what_it_copies__is_there_and_reaches_the_builder() -> None:
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_in = [rule[1:] for rule in rules if rule.startswith("!")]
    copied = list_copied()

    assert [path for path in copied if not (ROOT / path).exists()] == []
    assert [
        path
        for path in copied
        if not any(fnmatch(path, rule) or path.startswith(f"{rule}/") for rule in let_in)
    ] == []
    # What the wheel is built of, to the last room and file; its pages come from their own stage.
    assert {*ROOMS, *FILES} <= set(copied)
    from_pages = [rest for _, rest in STAGES["installed"] if rest.startswith("--from=pages")]
    assert from_pages == [
        f"--from=pages /source/{Path(page).parent} {Path(page).parent}" for page in PAGES
    ]


def test_dockerfile__each_command__is_the_projects_own() -> None:
    run = {
        name: [rest for word, rest in instructions if word == "RUN"]
        for name, instructions in STAGES.items()
    }
    setup = (ROOT / "scripts" / "setup.py").read_text(encoding="utf-8")

    install, build = run["pages"]
    assert build == "node web/build.mjs" and (ROOT / "web" / "build.mjs").is_file()
    flags = re.findall(r"--[a-z-]+", install)
    assert flags == ["--prefix", "--ignore-scripts", "--no-audit", "--no-fund"]
    assert all(f'"{flag}"' in setup for flag in flags)
    for path in re.findall(r"-r (\S+)", " ".join(run["installed"])):
        assert ROOT / path in (RUNTIME, BUILD)
    installs = [line for line in run["installed"] if " install " in line]
    assert all("--require-hashes" in line or "--no-index" in line for line in installs)
    assert any("-m scripts.build_wheel /tmp/wheel" in line for line in run["installed"])
    version = re.search(r"python:(3\.\d+)-", dict_of(STAGES[""])["PYTHON_IMAGE"])
    assert version is not None
    assert f"lib/python{version.group(1)}/" in " ".join(run["installed"])


def dict_of(instructions: list[Instruction]) -> dict[str, str]:
    """Return the arguments of a file's head."""
    return dict(rest.split("=", 1) for word, rest in instructions if word == "ARG" and "=" in rest)


def test_dockerfile__what_runs__is_nobody_with_rights_on_images_that_are_named_exactly() -> None:
    last = STAGES["current"]

    assert ("USER", f"{USER_ID}:{USER_ID}") in last
    assert last.index(("USER", f"{USER_ID}:{USER_ID}")) > max(
        place for place, (word, _) in enumerate(last) if word in ("RUN", "COPY")
    )
    (entry,) = [json.loads(rest) for word, rest in last if word == "ENTRYPOINT"]
    scripts = {point.name for point in metadata.distribution("current-yield").entry_points}
    assert entry == ["current"] and set(entry) <= scripts
    for image in dict_of(STAGES[""]).values():
        assert re.fullmatch(r"[a-z]+:\d+(\.\d+)?-[a-z-]+", image), image
    assert not any(word == "ADD" for one in STAGES.values() for word, _ in one)


def test_locks__of_the_image__are_what_the_lock_says() -> None:
    wanted = build_locks()

    assert {path: path.read_text(encoding="utf-8") for path in wanted} == wanted, "run `make lock`"
    names = {head.partition("==")[0] for head in read_lock(wanted[RUNTIME])}
    assert {"web3", "psycopg-binary", "uvicorn", "rlp"} <= names
    assert not names & {"pytest", "vyper", "mypy", "xllamacpp", "eth-ape", "setuptools"}


@pytest.mark.slow
def test_locks__of_the_image__are_all_that_the_processes_load(tmp_path: Path) -> None:
    for head in read_lock(RUNTIME.read_text(encoding="utf-8")):
        name = head.partition("==")[0]
        try:
            files = metadata.distribution(name).files or []
        except metadata.PackageNotFoundError:
            assert ";" in head, f"{name} is not installed here"
            continue
        for top in {path.parts[0] for path in files} - {"..", "__pycache__"}:
            if not (tmp_path / top).exists():
                (tmp_path / top).symlink_to(Path(str(metadata.distribution(name).locate_file(top))))
    rooms = ("indexer", "keeper", "market", "proxy")
    code = "import importlib, scripts.cli\n" + "\n".join(
        f"importlib.import_module('{room}.{module}')"
        for room in rooms
        for module in ("main", "commands")
    )
    done = subprocess.run(
        [sys.executable, "-S", "-P", "-c", code],
        env={"PYTHONPATH": f"{ROOT}:{tmp_path}"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "current"
    record = write_record(DEPLOYMENT, tmp_path)
    words = ["init", str(folder), *WORDS, "--deployment-file", str(record)]
    made = CliRunner(mix_stderr=False).invoke(commands, words)
    assert made.exit_code == 0, made.stderr
    assert f"-t {IMAGE} ." in made.stdout
    return folder


def load_compose(folder: Path) -> Any:
    return yaml.safe_load((folder / "compose.yml").read_text(encoding="utf-8"))


def test_compose__each_services_settings__are_what_its_class_takes(folder: Path) -> None:
    told = load_compose(folder)
    ours = {name: one for name, one in told["services"].items() if name != "postgres"}
    assert set(ours) == {"indexer", "keeper", "proxy", "proxy-2", "market"}

    read = {}
    for name, service in ours.items():
        files = {place: Path(one["file"]) for place, one in told["secrets"].items()}
        environment = read_env_file(Path(service["env_file"][0])) | service["environment"]
        for setting, value in environment.items():
            if value.startswith("/run/secrets/"):
                secret = value.removeprefix("/run/secrets/")
                assert secret in service["secrets"], f"{name} is not given {secret}"
                environment[setting] = str(files[secret])
        (process,) = service["command"]
        read[name] = CLASSES[process].from_environment(environment)

    proxy = read["proxy-2"]
    assert isinstance(proxy, ProxySettings)
    assert (proxy.port, proxy.upstream_url.get_secret_value()) == (8410, "http://market:8403/v1")
    password = find_database_password(folder)
    assert f":{password}@postgres/" in proxy.ledger_url.get_secret_value()
    assert (folder / "secrets" / "POSTGRES_PASSWORD").read_text().strip() == password


def test_compose__services__have_no_rights_and_are_this_hosts_alone(folder: Path) -> None:
    told = load_compose(folder)

    for name, service in told["services"].items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        if name == "postgres":
            continue
        assert (service["image"], service["user"]) == (IMAGE, f"{USER_ID}:{USER_ID}")
        assert service["restart"] == "unless-stopped", "nothing runs after a reboot"
        assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        mounted = [volume.split(":") for volume in service["volumes"]]
        assert all(inside == path and mode == "ro" for path, inside, mode in mounted)
        # Neither the folder itself nor what of it is another's.
        paths = [str(Path(path).relative_to(folder)) for path, *_ in mounted]
        kms = ["kms"] if name == "market" else []
        assert paths == ["deployment.json", *kms], f"{name} sees others' files"
        assert all((folder / path).exists() for path in paths)
        mine = {secret.partition("_")[0] for secret in service["secrets"]}
        assert mine == {service["command"][0].upper()}, f"{name} sees others' secrets"


@pytest.mark.parametrize(
    "taken", ["172.16.0.0/12", "192.168.0.0/16", "10.128.0.0/9", "10.0.0.0/16"]
)
def test_compose__network__is_none_that_hosts_have_by_default(folder: Path, taken: str) -> None:
    told = load_compose(folder)
    (config,) = told["networks"]["inside"]["ipam"]["config"]
    subnet = ipaddress.ip_network(config["subnet"])

    assert not subnet.overlaps(ipaddress.ip_network(taken))
    proxies = told["services"]["proxy"]["environment"]["PROXY_TRUSTED_PROXIES"]
    assert ipaddress.ip_address(proxies) == subnet[1], "the balancer is not believed"


def test_compose__made_again__keeps_the_databases_password(folder: Path) -> None:
    first = find_database_password(folder)
    (folder / "compose.yml").unlink()
    words = ["init", str(folder), *WORDS, "--deployment-file", str(folder / "deployment.json")]

    assert CliRunner().invoke(commands, words).exit_code == 0
    assert find_database_password(folder) == first
    ledger_url = (folder / "secrets" / "KEEPER_LEDGER_URL").read_text()
    assert f":{first}@postgres/" in ledger_url


@pytest.mark.slow
def test_compose__docker_compose__accepts_it(folder: Path) -> None:
    compose = shutil.which("docker-compose")
    if compose is None:
        pytest.skip("no docker-compose: install one (Debian: docker-compose)")

    done = subprocess.run(
        [compose, "-f", str(folder / "compose.yml"), "config", "--quiet"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
