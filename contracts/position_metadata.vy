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


USDC_DECIMALS: constant(uint256) = 6

# The base64 alphabet as ASCII: A to Z and a to f, then g to z, the digits, + and /.
ALPHABET_LOW: constant(bytes32) = 0x4142434445464748494a4b4c4d4e4f505152535455565758595a616263646566
ALPHABET_HIGH: constant(bytes32) = 0x6768696a6b6c6d6e6f707172737475767778797a303132333435363738392b2f

# Base64 turns 24 bytes into one 32-byte word, so texts are measured in such chunks.
CHUNK: constant(uint256) = 24
MAX_CHUNKS: constant(uint256) = 100
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
    """
    @notice A square, as thumbnails are. The largest amount ends at 303 of 360, in a font of the usual width.
    @dev Without a width and a height of its own, some browsers do not draw it onto a canvas.
    """
    return concat(
        '<svg xmlns="http://www.w3.org/2000/svg" width="360" height="360" viewBox="0 0 360 360" ',
        'font-family="monospace" font-size="16" fill="#dfe"><rect width="360" height="360" rx="16" fill="#123"/>',
        '<text x="24" y="56" font-size="24">',
        name,
        '</text><path d="M24 80h312" stroke="#456"/>',
        self._row("112", "136", "Principal", figures.principal),
        self._row("174", "198", "Allowance", figures.allowance),
        self._row("236", "260", "Held", figures.held),
        self._row("298", "322", "Cap today", figures.dayCap),
        "</svg>",
    )


@internal
@pure
def _row(labelY: String[3], y: String[3], label: String[9], amount: uint256) -> String[160]:
    return concat(
        '<text x="24" y="',
        labelY,
        '" font-size="13" fill="#9bc">',
        label,
        '</text><text x="24" y="',
        y,
        '">',
        self._usdc(amount, True),
        " USDC</text>",
    )


@internal
@pure
def _trait(label: String[9], amount: uint256) -> String[128]:
    return concat(
        '{"display_type":"number","trait_type":"', label, ' (USDC)","value":', self._usdc(amount, False), "}"
    )


@internal
@pure
def _usdc(amount: uint256, grouped: bool) -> String[32]:
    """
    @notice An amount with its six decimals: 1,234.567890 for people, 1234.567890 as JSON.
    @param amount USDC (1e-6), below 2**64: at most 25 characters.
    @param grouped True to set thousands apart.
    """
    word: uint256 = 0  # the text in ASCII, filled from its last character
    size: uint256 = 0
    rest: uint256 = amount
    for i: uint256 in range(20):
        if i == USDC_DECIMALS:
            word |= 46 << (8 * size)  # a point
            size += 1
        elif grouped and i > USDC_DECIMALS and i % 3 == 0:
            word |= 44 << (8 * size)  # a comma
            size += 1
        word |= (48 + rest % 10) << (8 * size)
        size += 1
        rest //= 10
        if rest == 0 and i >= USDC_DECIMALS:
            break
    return convert(slice(abi_encode(word), 32 - size, size), String[32])


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
