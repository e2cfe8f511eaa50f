"""Secrets that sign: what is refused as one, and several that live at once. Pure.

Rotation: the new secret signs, older ones still verify until they are taken out.
"""

from typing import Annotated, Final

from pydantic import AfterValidator, SecretStr

SECRET_BYTES_MIN: Final = 32
SECRET_SYMBOLS_MIN: Final = 8
_PLACEHOLDERS: Final = ("changeme", "change-me", "change_me", "secret", "password", "example")


def validate_secret(secret: str) -> None:
    """Raise ``ValueError`` for a secret that is short, a placeholder or hardly random."""
    if len(secret.encode()) < SECRET_BYTES_MIN:
        raise ValueError(
            f"must have at least {SECRET_BYTES_MIN} bytes; make one with: openssl rand -hex 32"
        )
    if any(character.isspace() or character == "," for character in secret):
        raise ValueError("must not contain white space or commas")
    if len(set(secret)) < SECRET_SYMBOLS_MIN:
        raise ValueError("is not random: too few different characters")
    if any(word in secret.lower() for word in _PLACEHOLDERS):
        raise ValueError("is a placeholder; make one with: openssl rand -hex 32")


def list_secrets(current: SecretStr, previous: SecretStr) -> tuple[bytes, ...]:
    """Return every live secret; the first one signs."""
    texts = (current.get_secret_value(), *_split(previous))
    return tuple(text.encode() for text in texts)


def _check(secret: SecretStr) -> SecretStr:
    validate_secret(secret.get_secret_value())
    return secret


def _check_all(secrets: SecretStr) -> SecretStr:
    for secret in _split(secrets):
        validate_secret(secret)
    return secrets


def _split(secrets: SecretStr) -> list[str]:
    return secrets.get_secret_value().replace(",", " ").split()


SigningSecret = Annotated[SecretStr, AfterValidator(_check)]
"""A setting that holds one secret."""

PreviousSecrets = Annotated[SecretStr, AfterValidator(_check_all)]
"""A setting that holds any number of older secrets, separated by white space or commas."""
