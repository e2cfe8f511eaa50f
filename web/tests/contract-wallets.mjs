/** Wallets for tests whose accounts are contracts: a Safe of several owners, and an account that batches. */
import { concat, encodeFunctionData, hashMessage, parseAbi } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { TestWallet } from "./wallet.mjs";

const ZERO = `0x${"00".repeat(20)}`;
const SAFE = parseAbi([
  "function nonce() view returns (uint256)",
  "function getTransactionHash(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,uint256) view returns (bytes32)",
  "function execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes) payable returns (bool)",
]);

/** A Safe as its owners' wallet shows it to a page: what is asked waits until enough of them `confirm`. */
export class SafeWallet extends TestWallet {
  /** `key` pays for what is confirmed; `members` are the keys that sign, in the order of their addresses. */
  constructor({ safe, members, ...rest }) {
    super({ ...rest, name: "Test Safe" });
    this.safe = safe;
    this.members = members.map((key) => privateKeyToAccount(key)).sort((a, b) => (a.address.toLowerCase() < b.address.toLowerCase() ? -1 : 1));
    this.proposed = [];
    this.behaviour = {
      eth_requestAccounts: () => [safe],
      eth_accounts: () => [safe],
      eth_sendTransaction: (params) => this.#propose(params[0]),
      personal_sign: (params) => this.#signText(params[0]),
      eth_signTypedData_v4: "unsupported",
    };
  }

  async #propose({ to, data }) {
    const nonce = await this.node.readContract({ address: this.safe, abi: SAFE, functionName: "nonce" });
    const terms = [to, 0n, data, 0, 0n, 0n, 0n, ZERO, ZERO];
    const hash = await this.node.readContract({ address: this.safe, abi: SAFE, functionName: "getTransactionHash", args: [...terms, nonce] });
    this.proposed.push({ hash, terms });
    return hash;
  }

  /** The owners sign the oldest proposal, and it is carried out. */
  async confirm() {
    const { hash, terms } = this.proposed.shift();
    const signed = await Promise.all(this.members.map((member) => member.sign({ hash })));
    const data = encodeFunctionData({ abi: SAFE, functionName: "execTransaction", args: [...terms, concat(signed)] });
    const sent = await this.client.sendTransaction({ to: this.safe, data, gas: 3_000_000n });
    await this.node.waitForTransactionReceipt({ hash: sent });
  }

  async #signText(raw) {
    const message = {
      domain: { chainId: this.chainId, verifyingContract: this.safe },
      types: { SafeMessage: [{ name: "message", type: "bytes" }] },
      primaryType: "SafeMessage",
      message: { message: hashMessage({ raw }) },
    };
    return concat(await Promise.all(this.members.map((member) => member.signTypedData(message))));
  }
}

const MULTICALL = parseAbi([
  "struct Call { address target; bool allowFailure; bytes callData; }",
  "struct Result { bool success; bytes returnData; }",
  "function aggregate3(Call[] calls) payable returns (Result[])",
]);

/** An account that carries out several calls as one (EIP-5792), delegated to a contract that does (EIP-7702). */
export class BatchWallet extends TestWallet {
  constructor({ multicall3, ...rest }) {
    super(rest);
    const capability = { atomic: { status: "ready" } };
    this.behaviour = {
      wallet_getCapabilities: (params) => ({ [params[1][0]]: capability }),
      wallet_sendCalls: (params) => this.#sendCalls(multicall3, params[0].calls),
      wallet_getCallsStatus: (params) => this.#tellStatus(params[0]),
    };
  }

  async #sendCalls(multicall3, calls) {
    const authorization = await this.client.signAuthorization({ contractAddress: multicall3, executor: "self" });
    const all = calls.map(({ to, data }) => ({ target: to, allowFailure: false, callData: data }));
    const data = encodeFunctionData({ abi: MULTICALL, functionName: "aggregate3", args: [all] });
    return { id: await this.client.sendTransaction({ to: this.account.address, data, authorizationList: [authorization], gas: 5_000_000n }) };
  }

  async #tellStatus(id) {
    const receipt = await this.node.request({ method: "eth_getTransactionReceipt", params: [id] });
    const isDone = receipt !== null;
    return { version: "2.0.0", id, chainId: `0x${this.chainId.toString(16)}`, atomic: true, status: isDone ? 200 : 100, receipts: isDone ? [receipt] : [] };
  }
}
