"""This host: disk, file modes, open files, the clock's keeper, backups."""

import os
import resource
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from scripts.doctor.examination import Finding, advise, bad, check, good, unknown
from scripts.doctor.patient import Absent, Patient
from scripts.saving.backups import Backup, find_backups
from serving.http.settings import ServerSettings

DISK_BYTES_MIN: Final = 2 * 1024**3
DISK_SHARE_MIN: Final = 0.05
BACKUP_AGE_S_MAX: Final = 26 * 3_600
BACKUP_FUTURE_S_MAX: Final = 300
OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
FILES_SPARE: Final = 256
FILES_FREE_MIN: Final = 10_000


@check("host.disk")
def check_disk(patient: Patient) -> Iterator[Finding]:
    """There is room where the ledger, the folder and the backups are."""
    places = [Path("/"), *(one for one in (patient.folder, patient.backups) if one is not None)]
    for settings in patient.settings.values():
        url = settings.ledger_url.get_secret_value()
        if url.startswith("sqlite:///"):
            places.append(Path(url.removeprefix("sqlite:///")).parent)
    seen: set[int] = set()
    for place in places:
        if not place.exists() or place.stat().st_dev in seen:
            continue
        seen.add(place.stat().st_dev)
        usage = shutil.disk_usage(place)
        says = f"{usage.free / 1024**3:.1f} of {usage.total / 1024**3:.0f} GiB are free"
        mend = f"make room: du -xh -d 2 {place} | sort -h | tail"
        if usage.free < DISK_BYTES_MIN:
            yield bad(str(place), f"{says}: a full disk stops every charge", mend)
        elif usage.free < DISK_SHARE_MIN * usage.total:
            yield advise(str(place), says, mend)
        else:
            yield good(str(place), says)
        files = os.statvfs(place)
        # Some file systems do not count them.
        if files.f_files and files.f_favail < FILES_FREE_MIN:
            says = f"{files.f_favail} more files fit: no log, backup or ledger can be made"
            yield bad(str(place), says, f"remove files: du --inodes -xd 2 {place} | sort -n | tail")


@check("host.archive")
def check_archive(patient: Patient) -> Iterator[Finding]:
    """Receipts of archived requests can be read, and by nobody else on this host."""
    folder = patient.proxy.archive_folder
    if folder is None:
        return
    mend = "current ledger archive makes it; bring it back from its copy where it was there"
    if not os.access(folder, os.R_OK | os.X_OK):
        says = "is not there, or this user may not read it: archived requests have no receipt"
        yield bad(str(folder), says, mend)
    elif folder.stat().st_mode & OTHERS:
        says = "is open to other users of this host: it names sellers and users"
        yield bad(str(folder), says, f"chmod 700 {folder}")
    elif any(folder.glob("*/*.json.gz")) and not (folder / "index.sqlite3").is_file():
        says = "has no index: archived requests have no receipt"
        yield bad(str(folder), says, f"current ledger check-archive {folder}")
    else:
        yield good(str(folder), "has receipts of archived requests")


@check("host.modes")
def check_modes(patient: Patient) -> Iterator[Finding]:
    """Files that hold secrets are nobody else's to read, and are there."""
    for path in sorted(list_secret_files(patient)):
        try:
            mode = path.stat().st_mode
        except OSError as error:
            reason = error.strerror or type(error).__name__
            yield bad(str(path), f"cannot be looked at: {reason}", "put the file back")
            continue
        if mode & OTHERS:
            says = f"has mode {stat.S_IMODE(mode):04o}: other users of this host may read it"
            yield bad(str(path), says, f"chmod 600 {path}")
        else:
            yield good(str(path), "is its owner's only")


def list_secret_files(patient: Patient) -> set[Path]:
    """Return every file that holds a secret or the ledger."""
    found = {
        Path(value)
        for name, value in patient.environment.items()
        if name.endswith("_FILE")
        and name.partition("_")[0].lower() in patient.settings
        and not name.endswith(("_DEPLOYMENT_FILE", "_PRICES_FILE", "_NAMES_FILE"))
    }
    if patient.folder is not None:
        found |= set((patient.folder / "env").glob("*.env"))
        found |= set((patient.folder / "secrets").glob("*"))
    if "keeper" in patient.settings:
        keyfiles = (patient.keeper.keyfile, patient.keeper.payments_keyfile)
        found |= {path for path in keyfiles if path is not None}
    if "market" in patient.settings and patient.market.kms.startswith("file:"):
        found.add(Path(patient.market.kms.removeprefix("file:")))
    for settings in patient.settings.values():
        url = settings.ledger_url.get_secret_value()
        path = Path(url.removeprefix("sqlite:///"))
        if url.startswith("sqlite:///") and path.exists():
            found.add(path)
    return found


@check("host.files")
def check_open_files(patient: Patient) -> Iterator[Finding]:
    """A server may open as many files as it takes connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for name in ("proxy", "market"):
        if name not in patient.settings:
            continue
        settings = patient.find(name, ServerSettings)
        needed = settings.silent_connections_max + settings.requests_in_flight_max + FILES_SPARE
        needed += patient.proxy.upstream_connections_max if name == "proxy" else 0
        if hard != resource.RLIM_INFINITY and hard < needed:
            says = f"a process may open {hard} files here, and this one takes up to {needed}"
            yield bad(
                name, says, f"LimitNOFILE={2 * needed} in its unit, or ulimit -n {2 * needed}"
            )
        elif soft != resource.RLIM_INFINITY and soft < needed:
            says = f"a shell here lets a process open {soft} files; this one takes up to {needed}"
            yield advise(name, says, f"LimitNOFILE={2 * needed} in its unit (`current init` does)")


@check("host.clock")
def check_time_service(_patient: Patient) -> Iterator[Finding]:
    """Something keeps this host's clock right."""
    program = shutil.which("timedatectl")
    if program is None:
        return
    asked = [program, "show", "--property=NTPSynchronized", "--value"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return
    if done.stdout.strip() == "no":
        says = "no time service keeps this host's clock"
        yield advise("clock", says, "apt install chrony, or timedatectl set-ntp true")
    elif done.stdout.strip() == "yes":
        yield good("clock", "a time service keeps it")


@check("host.backups")
def check_backups(patient: Patient) -> Iterator[Finding]:
    """There is a backup of the ledger, not older than a day, and not on the ledger's disk only."""
    if patient.backups is None:
        yield unknown(
            "backups",
            "where backups are is not said: the ledger is the only record of unsettled usage",
            "current doctor --backups <folder>, where a timer runs: current backup <folder>",
        )
        return
    found = find_backups(patient.backups)
    mend = f"current backup {patient.backups}, every day by a timer"
    if not found:
        yield bad("backups", f"there is none in {patient.backups}", mend)
        return
    newest = found[-1]
    if not newest.data_path.is_file() or newest.data_path.stat().st_size != newest.bytes:
        yield bad("backups", f"{newest.path} lacks a part of its data", mend)
        return
    age_s = patient.now() - newest.taken_at_s
    if (newest.chain_id, newest.position) != _find_deployment(patient, newest):
        says = f"the newest is of {newest.position} on chain {newest.chain_id}, not of this ledger"
        yield bad("backups", says, mend)
        return
    if age_s < -BACKUP_FUTURE_S_MAX:
        says = f"the newest is from {-age_s / 3_600:.0f} hours ahead of this host's clock"
        yield bad("backups", says, "set the clock: timedatectl set-ntp true; then back up again")
        return
    if age_s > BACKUP_AGE_S_MAX:
        yield bad("backups", f"the newest is {age_s / 3_600:.0f} hours old", mend)
    else:
        yield good("backups", f"{len(found)}, the newest {age_s / 3_600:.1f} hours old")
    path = patient.sqlite_path
    if path is not None and path.exists() and patient.backups.stat().st_dev == path.stat().st_dev:
        says = "they are on the ledger's own disk, and are lost with it"
        yield advise("backups", says, f"copy {patient.backups} to another machine every day")


def _find_deployment(patient: Patient, newest: Backup) -> tuple[int, str]:
    """Return chain and position contract of the record; the backup's where none can be read.

    One deployer has the same addresses on every chain.
    """
    try:
        return patient.deployment.chain_id, patient.deployment.position
    except Absent:
        return newest.chain_id, newest.position


@check("host.root")
def check_user(patient: Patient) -> Iterator[Finding]:
    """The units' user exists, where a deployment folder says that units are used."""
    if patient.folder is None or os.geteuid() != 0:
        return
    owner = (patient.folder / "env").stat()
    for path in (patient.folder / "secrets").glob("*"):
        if path.stat().st_uid != owner.st_uid:
            says = "belongs to another user than the folder's other files"
            yield bad(str(path), says, f"chown --reference={patient.folder / 'env'} {path}")
