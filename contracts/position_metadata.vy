# pragma version 0.4.3
"""
@title The picture of a position, built on chain
@notice A token URI that needs no server: JSON and SVG, both inline. Pure functions only.
"""

struct Figures:
    principal: uint256
    allowance: uint256
    held: uint256
    dayCap: uint256


USDC_UNIT: constant(uint256) = 1_000_000

# The base64 alphabet as ASCII: A to Z and a to f, then g to z, the digits, + and /.
ALPHABET_LOW: constant(bytes32) = 0x4142434445464748494a4b4c4d4e4f505152535455565758595a616263646566
ALPHABET_HIGH: constant(bytes32) = 0x6768696a6b6c6d6e6f707172737475767778797a303132333435363738392b2f

# Base64 turns 24 bytes into one 32-byte word, so texts are measured in such chunks.
CHUNK: constant(uint256) = 24
MAX_CHUNKS: constant(uint256) = 96
MAX_TEXT: constant(uint256) = CHUNK * MAX_CHUNKS
MAX_BASE64: constant(uint256) = 32 * MAX_CHUNKS
MAX_URI: constant(uint256) = MAX_BASE64 + 29  # the prefix
MAX_SVG: constant(uint256) = 1_200
MAX_IMAGE: constant(uint256) = 1_600  # MAX_SVG in base64


@internal
@pure
def _token_uri(tokenId: uint256, figures: Figures) -> String[MAX_URI]:
    """
    @notice A data URI of JSON with the picture inside.
    @param tokenId The position.
    @param figures Amounts in USDC (1e-6), as they are now.
    """
    name: String[87] = concat("Current #", uint2str(tokenId))
    # Only the ABI narrows the bound of a string; the picture itself is never that long.
    image: String[MAX_IMAGE] = abi_decode(abi_encode(self._base64(self._svg(name, figures))), String[MAX_IMAGE])
    json: String[MAX_TEXT] = concat(
        '{"name":"',
        name,
        '","description":"A deposit whose yield pays for AI inference. Soulbound: it never changes hands.",',
        '"image":"data:image/svg+xml;base64,',
        image,
        '","attributes":[',
        self._trait("Principal", figures.principal),
        ",",
        self._trait("Allowance", figures.allowance),
        ",",
        self._trait("Held", figures.held),
        ",",
        self._trait("Cap today", figures.dayCap),
        "]}",
    )
    return concat("data:application/json;base64,", self._base64(json))


@internal
@pure
def _svg(name: String[87], figures: Figures) -> String[MAX_SVG]:
    return concat(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 360 220" font-family="monospace" font-size="14" ',
        'fill="#dfe"><rect width="360" height="220" rx="16" fill="#123"/><text x="24" y="48" font-size="22">',
        name,
        "</text>",
        self._row("96", "Principal", figures.principal),
        self._row("126", "Allowance", figures.allowance),
        self._row("156", "Held", figures.held),
        self._row("186", "Cap today", figures.dayCap),
        "</svg>",
    )


@internal
@pure
def _row(y: String[3], label: String[9], amount: uint256) -> String[160]:
    return concat(
        '<text x="24" y="',
        y,
        '">',
        label,
        '</text><text x="336" y="',
        y,
        '" text-anchor="end">',
        self._usdc(amount),
        " USDC</text>",
    )


@internal
@pure
def _trait(label: String[9], amount: uint256) -> String[96]:
    return concat('{"trait_type":"', label, '","value":"', self._usdc(amount), ' USDC"}')


@internal
@pure
def _usdc(amount: uint256) -> String[27]:
    """
    @notice An amount with its six decimals.
    @param amount USDC (1e-6), below 2**64.
    """
    units: String[20] = uint2str(convert(amount // USDC_UNIT, uint64))
    # The leading 1 keeps the zeros of the fraction and is then cut off.
    fraction: String[20] = uint2str(convert(USDC_UNIT + amount % USDC_UNIT, uint64))
    return concat(units, ".", slice(fraction, 1, 6))


@internal
@pure
def _base64(text: String[MAX_TEXT]) -> String[MAX_BASE64]:
    """
    @notice Standard base64 without padding characters.
    @dev The text is filled up with spaces to whole chunks, which both JSON and SVG ignore.
    """
    padded: Bytes[MAX_TEXT + CHUNK] = concat(convert(text, Bytes[MAX_TEXT]), b"                        ")
    chunks: uint256 = (len(text) + CHUNK - 1) // CHUNK
    words: DynArray[uint256, MAX_CHUNKS] = []
    for i: uint256 in range(chunks, bound=MAX_CHUNKS):
        words.append(self._base64_word(convert(slice(padded, i * CHUNK, CHUNK), uint256)))
    # The encoding of an array is its offset, its length and then the words themselves.
    encoded: Bytes[MAX_BASE64 + 64] = abi_encode(words)
    return convert(slice(encoded, 64, 32 * chunks), String[MAX_BASE64])


@internal
@pure
def _base64_word(chunk: uint256) -> uint256:
    """
    @notice 24 bytes as 32 base64 characters.
    """
    word: uint256 = 0
    for i: uint256 in range(32):
        sextet: uint256 = (chunk >> (186 - 6 * i)) & 63
        half: uint256 = convert(ALPHABET_LOW if sextet < 32 else ALPHABET_HIGH, uint256)
        word = (word << 8) | ((half >> (8 * (31 - sextet % 32))) & 255)
    return word
