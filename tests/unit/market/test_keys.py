"""Keys and nonces, sealed provider keys, and where each of them does not fit."""

import re
from pathlib import Path

import pytest

from ledger.selling.sealed_keys import SealedKey
from market.endpoints.sealing import FileKms, KmsInvalid, Sealer, open_kms
from market.identity.keys import (
    Role,
    digest_request,
    find_role,
    hash_key,
    is_address,
    make_key,
    make_nonce,
    read_nonce,
)
from serving.process.aes_gcm import SealBroken

SECRET = b"7f3a9c1e5b8d2046f7a1c3e5097b6d8e"
ADDRESS = "0x" + "aB" * 20
KEY = "sk-provider-0123456789"


@pytest.mark.parametrize(("role", "prefix"), [(Role.SELLER, "si_seller_"), (Role.BUYER, "inf_")])
def test_make_key__each_role__is_recognised_and_never_shown(role: Role, prefix: str) -> None:
    key = make_key(role)

    assert key.text.startswith(prefix)
    assert find_role(key.text) is role
    assert hash_key(key.text) == key.key_hash
    assert key.text not in repr(key)
    assert make_key(role).text != key.text


@pytest.mark.parametrize(
    "text", ["", "inf_", "inf_" + "a" * 42, "inf_" + "é" * 43, "sk_" + "a" * 43]
)
def test_find_role__no_key_of_ours__is_none(text: str) -> None:
    assert find_role(text) is None


def test_nonce__read_by_its_maker__says_when_it_expires() -> None:
    nonce = make_nonce([SECRET], purpose=Role.SELLER, address=ADDRESS, expires_at_s=1_800_000_300)

    assert re.fullmatch(r"[0-9a-f]{64}", nonce)
    read = read_nonce([SECRET], nonce, purpose=Role.SELLER, address=ADDRESS.lower())
    assert read == 1_800_000_300
    assert read_nonce([b"other"], nonce, purpose=Role.SELLER, address=ADDRESS) is None
    assert read_nonce([SECRET], nonce, purpose=Role.BUYER, address=ADDRESS) is None
    assert read_nonce([SECRET], nonce, purpose=Role.SELLER, address="0x" + "11" * 20) is None
    later = "0" * 15 + "f" + nonce[16:]
    assert read_nonce([SECRET], later, purpose=Role.SELLER, address=ADDRESS) is None
    assert read_nonce([SECRET], nonce + "0", purpose=Role.SELLER, address=ADDRESS) is None


def test_digest_request__other_content_or_secret__differs() -> None:
    digests = {
        digest_request([SECRET], b"a"),
        digest_request([SECRET], b"b"),
        digest_request([b"x"], b"a"),
    }

    assert len(digests) == 3


@pytest.mark.parametrize("text", ["", "0x", "0x" + "1" * 39, "0x" + "g" * 40, "0x" + "1" * 41])
def test_is_address__not_one__is_false(text: str) -> None:
    assert not is_address(text)


@pytest.fixture
def kms_file(tmp_path: Path) -> Path:
    """A key file with one key."""
    path = tmp_path / "kms"
    path.write_text("k1 " + "4f" * 32 + "\n")
    path.chmod(0o600)
    return path


def test_sealer__seal__opens_for_its_offer_only(kms_file: Path) -> None:
    sealer = Sealer(FileKms(kms_file))
    sealed = sealer.seal(KEY, offer_id="o1")

    assert sealer.open(sealed, offer_id="o1") == KEY
    assert KEY.encode() not in sealed.ciphertext + sealed.wrapped_key
    assert sealer.seal(KEY, offer_id="o1").ciphertext != sealed.ciphertext
    with pytest.raises(SealBroken):
        sealer.open(sealed, offer_id="o2")
    for broken in (
        SealedKey(sealed.ciphertext[:-1] + b"x", sealed.wrapped_key, "k1"),
        SealedKey(sealed.ciphertext, sealed.wrapped_key[:-1] + b"x", "k1"),
        SealedKey(b"short", sealed.wrapped_key, "k1"),
        SealedKey(sealed.ciphertext, sealed.wrapped_key, "k9"),
    ):
        with pytest.raises(SealBroken):
            sealer.open(broken, offer_id="o1")


def test_sealer__rotated__wraps_anew_and_leaves_the_ciphertext(kms_file: Path) -> None:
    sealed = Sealer(FileKms(kms_file)).seal(KEY, offer_id="o1")
    kms_file.write_text("k2 " + "a7" * 32 + "\n" + kms_file.read_text())
    sealer = Sealer(FileKms(kms_file))

    fresh = sealer.rewrap(sealed, offer_id="o1")

    assert (fresh.kms_key_id, fresh.ciphertext) == ("k2", sealed.ciphertext)
    kms_file.write_text("k2 " + "a7" * 32 + "\n")
    left = Sealer(FileKms(kms_file))
    assert left.open(fresh, offer_id="o1") == KEY
    with pytest.raises(SealBroken):
        left.open(sealed, offer_id="o1")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_file_kms__others_have_a_right_to_it__refused(kms_file: Path, mode: int) -> None:
    kms_file.chmod(mode)
    with pytest.raises(KmsInvalid, match="chmod 600"):
        FileKms(kms_file)


@pytest.mark.parametrize(
    "text", ["", "k1", "k1 00", "k1 " + "zz" * 32, ("k1 " + "00" * 32 + "\n") * 2]
)
def test_file_kms__bad_file__is_refused_and_shows_no_key(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kms"
    path.write_text(text)
    path.chmod(0o600)

    with pytest.raises(KmsInvalid) as refused:
        open_kms(f"file:{path}")

    assert "zz" not in str(refused.value)


@pytest.mark.parametrize("location", ["", "file:", "aws:", "vault:x"])
def test_open_kms__unknown_location__is_refused(location: str) -> None:
    with pytest.raises(KmsInvalid):
        open_kms(location)
