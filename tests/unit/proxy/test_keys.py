"""API keys: made, verified, and refused in every damaged form without an exception.

::

    verify_key
    ├── ours: its claims, under the current or an older secret
    ├── another chain, contract or secret: None
    └── damaged: None, whatever the damage
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.keys.tokens import INTEGER_MAX, KeyClaims, KeyRing, KnownKeys

SECRET = b"0123456789abcdef0123456789abcdef"
OLDER = b"fedcba9876543210fedcba9876543210"
POSITION = "0x" + "a1" * 20
RING = KeyRing([SECRET], 31337, POSITION)
CLAIMS = KeyClaims(token_id=12, key_epoch=3, key_id="0011223344556677")
KEY = RING.build_key(CLAIMS)
SIG = KEY.split("_", 3)[3]

integers = st.integers(min_value=0, max_value=INTEGER_MAX)


@given(integers, integers, st.binary(min_size=8, max_size=8))
def test_verify_key__ours__returns_its_claims(token_id: int, epoch: int, key_id: bytes) -> None:
    claims = KeyClaims(token_id, epoch, key_id.hex())
    key = RING.build_key(claims)

    assert key.startswith(f"current_{token_id}_{epoch}_")
    assert RING.verify_key(key) == claims


def test_verify_key__older_secret__is_still_valid() -> None:
    rotated = KeyRing([OLDER, SECRET], 31337, POSITION)

    assert rotated.verify_key(KEY) == CLAIMS
    assert RING.verify_key(rotated.build_key(CLAIMS)) is None


@pytest.mark.parametrize(
    "ring",
    [
        KeyRing([OLDER], 31337, POSITION),
        KeyRing([SECRET], 8453, POSITION),
        KeyRing([SECRET], 31337, "0x" + "a2" * 20),
    ],
)
def test_verify_key__of_elsewhere__is_refused(ring: KeyRing) -> None:
    assert ring.verify_key(KEY) is None


DAMAGED = {
    "empty": "",
    "prefix only": "current_",
    "no sig": "current_12_3_",
    "no epoch": f"current_12_{SIG}",
    "other prefix": KEY.replace("current", "Current"),
    "leading space": " " + KEY,
    "trailing newline": KEY + "\n",
    "trailing nul": KEY + "\0",
    "padding": KEY + "==",
    "one short": KEY[:-1],
    "one long": KEY + "A",
    "standard base64": KEY[:-3] + "+/A",
    "leading zero": KEY.replace("_12_", "_012_"),
    "plus sign": KEY.replace("_12_", "_+12_"),
    "minus sign": KEY.replace("_12_", "_-12_"),
    "underscore in number": KEY.replace("_12_", "_1_2_"),
    "hex number": KEY.replace("_12_", "_0xc_"),
    "arabic digits": KEY.replace("_12_", "_\u0661\u0662_"),
    "full-width digits": KEY.replace("_12_", "_\uff11\uff12_"),
    "superscript": KEY.replace("_12_", "_\u00b2_"),
    "beyond bigint": KEY.replace("_12_", f"_{INTEGER_MAX + 1}_"),
    "huge number": KEY.replace("_12_", "_" + "9" * 100_000 + "_"),
    "huge epoch": KEY.replace("_3_", "_" + "9" * 5_000 + "_"),
    "other token": KEY.replace("_12_", "_13_"),
    "other epoch": KEY.replace("_3_", "_4_"),
    "empty token": KEY.replace("_12_", "__"),
    "lone surrogate": KEY[:-1] + "\ud800",
    "emoji": KEY[:-1] + "\U0001f511",
    "twice": KEY + KEY,
}


@pytest.mark.parametrize("key", DAMAGED.values(), ids=DAMAGED.keys())
def test_verify_key__damaged__is_refused(key: str) -> None:
    assert key != KEY
    assert RING.verify_key(key) is None


def test_verify_key__trailing_bits_set__is_refused() -> None:
    # 40 bytes leave four bits of the last character unused: sixteen spellings, one is ours.
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    spellings = [KEY[:-1] + last for last in alphabet]

    assert [key for key in spellings if RING.verify_key(key) is not None] == [KEY]


@given(st.integers(0, len(SIG) * 6 - 5), st.data())
def test_verify_key__one_bit_flipped__is_refused(bit: int, data: st.DataObject) -> None:
    raw = bytearray(40)
    raw[:] = _decode(SIG)
    raw[bit // 8 % 40] ^= 1 << data.draw(st.integers(0, 7))
    sig = urlsafe_b64encode(bytes(raw)).rstrip(b"=").decode()

    assert RING.verify_key(f"current_12_3_{sig}") is None


@given(st.text())
def test_verify_key__any_text__never_raises(text: str) -> None:
    assert RING.verify_key(text) is None
    assert RING.verify_key(f"current_{text}") is None
    assert RING.verify_key(f"current_12_3_{text}") is None


def test_repr__ring__shows_no_secret() -> None:
    assert SECRET.decode() not in repr(RING)


def _decode(sig: str) -> bytes:
    from base64 import urlsafe_b64decode

    return urlsafe_b64decode(sig + "==")


@given(integers, integers, st.binary(min_size=6, max_size=6), st.integers(0, 2**16 - 1))
def test_verify_key__child__says_so_and_of_which_generation(
    token_id: int, epoch: int, key_id: bytes, generation: int
) -> None:
    child = KeyClaims(token_id, epoch, key_id.hex(), generation)
    root = KeyClaims(token_id, epoch, child.key_bytes.hex())

    # The same bytes under the other domain are another key.
    assert RING.verify_key(RING.build_key(child)) == child
    assert RING.verify_key(RING.build_key(root)) == root
    assert RING.build_key(child) != RING.build_key(root)
    assert (child.is_child, root.is_child) == (True, False)


def test_verify_key__child_of_another_generation__needs_its_own_signature() -> None:
    child = KeyClaims(12, 3, "001122334455", 1)
    key = RING.build_key(child)
    raw = bytearray(urlsafe_b64decode(key.split("_", 3)[3] + "=="))
    raw[7] = 2
    forged = "current_12_3_" + urlsafe_b64encode(bytes(raw)).rstrip(b"=").decode()

    assert RING.verify_key(key) == child
    assert RING.verify_key(forged) is None
    assert KeyRing([OLDER, SECRET], 31337, POSITION).verify_key(key) == child


def test_known_keys__remembered_or_not__answer_as_the_ring_does() -> None:
    known = KnownKeys(RING, count_max=3)
    claims = [KeyClaims(number, 0, "00" * 8) for number in range(5)]
    keys = [RING.build_key(claim) for claim in claims]
    keys.append(RING.build_key(KeyClaims(1, 0, "00" * 6, generation=2)))
    # One sign of another key is enough for it to be no key.
    forged = [key[:-2] + ("A" if key[-2] != "A" else "B") + key[-1] for key in keys]

    for _ in range(3):  # more of them than are remembered
        for good, bad in zip(keys, forged, strict=True):
            assert known.verify_key(good) == RING.verify_key(good) is not None
            assert known.verify_key(bad) is None
        assert known.verify_key("") is None
        assert known.verify_key("current_0_0_") is None
    assert len(known._claims) <= 3
    assert not any(key.encode() in repr(known._claims).encode() for key in keys)
