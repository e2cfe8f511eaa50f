# pragma version 0.4.3
# pragma nonreentrancy on
"""
@title Batch ids that can be used once
@notice One bit an id, 256 ids a word: a caller that numbers its batches one after the other pays for
    a new storage word once in 256 batches. Any other ids work as well, at a word each.
"""

_words: HashMap[uint256, uint256]  # id >> 8 -> bits, set when the id was used


@internal
def _use(batchId: bytes32) -> bool:
    """
    @notice Mark an id as used.
    @return True when it was free until now, False when nothing was changed.
    """
    index: uint256 = convert(batchId, uint256)
    word: uint256 = self._words[index >> 8]
    bit: uint256 = 1 << (index & 255)
    if word & bit != 0:
        return False
    self._words[index >> 8] = word | bit
    return True


@internal
@view
def _is_used(batchId: bytes32) -> bool:
    index: uint256 = convert(batchId, uint256)
    return (self._words[index >> 8] >> (index & 255)) & 1 == 1
