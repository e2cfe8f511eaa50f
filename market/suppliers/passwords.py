"""Passwords: argon2id, in threads of their own, at most four at once.

Each takes 64 MiB and some tens of milliseconds: a flood of sign-ins may take no more than four
times that, and never the loop's own time.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from serving.http.errors import RequestRejected, bad_request, overloaded, wrong_type

AT_ONCE: Final = 4
WAITING_MAX: Final = 64
"""Hashes that may wait for their turn; more are told to come again."""
LENGTH_MIN: Final = 12
LENGTH_MAX: Final = 256
SYMBOLS_MIN: Final = 5


class Passwords:
    """Hashes and verifies passwords."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        """``hasher`` None: argon2id with the library's own cost (RFC 9106, low memory)."""
        self._hasher = PasswordHasher(type=Type.ID) if hasher is None else hasher
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="passwords")
        self._open = 0
        self._nobody: str | None = None

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(cancel_futures=True)

    async def hash(self, password: str) -> str:
        """Return a password's hash, in PHC format. Raises 503 where too many wait."""
        hashed: str = await self._run(self._hasher.hash, password)
        return hashed

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Tell whether this is the password. Without a hash, "no" takes as long. Raises 503."""
        if password_hash is None:
            if self._nobody is None:
                self._nobody = await self.hash("the password of nobody")
            await self._run(self._verify, self._nobody, password)
            return False
        is_it: bool = await self._run(self._verify, password_hash, password)
        return is_it

    def is_outdated(self, password_hash: str) -> bool:
        """Tell whether a hash was made at another cost than the present one."""
        return self._hasher.check_needs_rehash(password_hash)

    def _verify(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, call: Any, *arguments: Any) -> Any:
        if self._open >= AT_ONCE + WAITING_MAX:
            raise overloaded()
        self._open += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)
        finally:
            self._open -= 1


def read_password(value: Any, name: str = "password") -> str:
    """Return a password that is to be checked. Raises 400 for what cannot be one."""
    if not isinstance(value, str) or not 1 <= len(value) <= LENGTH_MAX:
        raise wrong_type(name, f"a password of at most {LENGTH_MAX} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise wrong_type(name, "a password of characters") from None
    return value


def read_new_password(value: Any, *, email: str, name: str = "password") -> str:
    """Return a password that is to be set. Raises 400 for a weak one."""
    password = read_password(value, name)
    reason = _find_weakness(password, email)
    if reason is not None:
        raise _weak(name, reason)
    return password


def _find_weakness(password: str, email: str) -> str | None:
    if len(password) < LENGTH_MIN:
        return f"it must have at least {LENGTH_MIN} characters"
    if len(set(password)) < SYMBOLS_MIN:
        return "it has too few different characters"
    if password.lower() == email:
        return "it is the e-mail address"
    return None


def _weak(name: str, reason: str) -> RequestRejected:
    return bad_request("weak_password", f"Choose another password: {reason}.", param=name)
