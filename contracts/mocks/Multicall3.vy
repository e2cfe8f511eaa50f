# pragma version 0.4.3
"""
@title Multicall3
@notice The one function of Multicall3 that the keeper uses, for chains that do not have the real one.
@dev Limits of this stand-in: 64 calls, 512 bytes of calldata and 256 bytes of answer each. Vyper sets
    memory aside for all of them, and what is set aside costs gas that the calls then lack.
"""

struct Call3:
    target: address
    allowFailure: bool
    callData: Bytes[512]


struct Result:
    success: bool
    returnData: Bytes[256]


MAX_CALLS: constant(uint256) = 64


@external
@payable
def aggregate3(calls: DynArray[Call3, MAX_CALLS]) -> DynArray[Result, MAX_CALLS]:
    """
    @notice Make calls one after the other.
    @param calls Target, whether a failure is allowed, and calldata.
    @return returnData Whether each succeeded, and its answer.
    """
    results: DynArray[Result, MAX_CALLS] = []
    for call: Call3 in calls:
        success: bool = False
        answer: Bytes[256] = b""
        success, answer = raw_call(call.target, call.callData, max_outsize=256, revert_on_failure=False)
        assert success or call.allowFailure, "Multicall3: call failed"
        results.append(Result(success=success, returnData=answer))
    return results
