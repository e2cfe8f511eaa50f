import assert from "node:assert/strict";
import { test } from "node:test";
import { type Sent, judge } from "../src/wallet/following.ts";
import { type Abilities, leastShares, listWays, readEntrusted } from "../src/wallet/deposit.ts";
import { WalletProblem, toProblem } from "../src/wallet/problems.ts";
import { ask, readAccount, readChainId } from "../src/wallet/provider.ts";
import { findChain } from "../src/wallet/chains.ts";
import { safeIcon, switchChain } from "../src/wallet/store.ts";

const never = { request: () => new Promise<never>(() => {}) };

test("toProblem: every code of EIP-1193 and 5792, wherever the wallet hides it", () => {
  const shapes: [unknown, string][] = [
    [{ code: 4001, message: "x" }, "refused"],
    [{ code: -32603, data: { originalError: { code: 4001 } } }, "refused"],
    [new Error("MetaMask Tx Signature: User denied transaction signature."), "refused"],
    [{ code: 4100 }, "disconnected"],
    [{ code: 4200 }, "unsupported"],
    [{ code: -32601, message: "method not found" }, "unsupported"],
    [{ code: 4900 }, "disconnected"],
    [{ code: 4901 }, "other_chain"],
    [{ code: 4902 }, "other_chain"],
    [{ code: -32603, message: 'Unrecognized chain ID "0x2105". Try adding the chain first.' }, "other_chain"],
    [{ code: -32002, message: "already pending" }, "busy"],
    [{ code: 5700 }, "unsupported"],
    [{ code: 3, message: "execution reverted: adapter: no principal" }, "reverted"],
    [{ cause: { cause: { details: "execution reverted: position: held, request release" } } }, "reverted"],
    ["a text", "unknown"],
    [undefined, "unknown"],
    [null, "unknown"],
  ];
  for (const [thrown, kind] of shapes) assert.equal(toProblem(thrown).kind, kind, JSON.stringify(thrown));
});

test("toProblem: a contract's refusal says what helps", () => {
  assert.match(toProblem({ message: "execution reverted: adapter: refused, name less" }).message, /less than you ask/);
  assert.match(toProblem({ message: "insufficient funds for gas" }).message, /too little ether/);
});

test("toProblem: what was put into words once is not lost in what a library wraps around it", () => {
  const first = toProblem({ message: "execution reverted: usdc: invalid signature" });
  const wrapped = new Error("An unknown RPC error occurred.", { cause: new Error("x", { cause: first }) });
  assert.equal(toProblem(wrapped), first);
});

test("ask: a wallet that hangs is given up in time, and by the visitor", async () => {
  await assert.rejects(ask(never, "eth_accounts", [], { limitMs: 5 }), (error: WalletProblem) => error.kind === "silent");
  const abort = new AbortController();
  const asked = ask(never, "personal_sign", [], { signal: abort.signal });
  abort.abort();
  await assert.rejects(asked, (error: WalletProblem) => error.kind === "refused");
});

test("readAccount and readChainId: what a wallet says is not believed to be well-formed", () => {
  assert.equal(readAccount(["0x" + "aB".repeat(20)]), "0x" + "aB".repeat(20));
  for (const said of [[], ["0x12"], "0x", null, [null], ["javascript:alert(1)"]]) assert.throws(() => readAccount(said));
  assert.equal(readChainId("0x7a69"), 31_337);
  assert.equal(readChainId("31337"), 31_337);
  for (const said of ["", "0x", null, -1, 1.5, "x", {}]) assert.throws(() => readChainId(said), JSON.stringify(said));
});

test("safeIcon: only images in the announcement itself", () => {
  assert.ok(safeIcon("data:image/svg+xml,%3Csvg/%3E"));
  for (const icon of ["https://elsewhere.example/x.png", "data:text/html,x", "javascript:1", ""]) {
    assert.equal(safeIcon(icon), undefined, icon);
  }
});

const sent: Sent = { hash: "0x01", from: "0xa", to: "0xAb", data: "0xda", nonce: 5 };
const sight = { receipt: null, isKnown: true, minedNonce: 5, rival: null } as const;

test("judge: mined, failed, on its way, unseen", () => {
  assert.deepEqual(judge(sent, { ...sight, receipt: { status: "success", blockNumber: 1n } }), { kind: "mined", hash: "0x01" });
  assert.deepEqual(judge(sent, { ...sight, receipt: { status: "reverted", blockNumber: 1n } }), { kind: "reverted", hash: "0x01" });
  assert.deepEqual(judge(sent, sight), { kind: "waiting" });
  assert.deepEqual(judge(sent, { ...sight, isKnown: false }), { kind: "unseen" });
  assert.deepEqual(judge({ ...sent, nonce: null }, { ...sight, isKnown: false, minedNonce: 9 }), { kind: "unseen" });
});

test("judge: sped up is mined; replaced by something else, or cancelled, is over", () => {
  const past = { ...sight, isKnown: false, minedNonce: 6 };
  const same = { hash: "0x02", to: "0xab", data: "0xda", status: "success" } as const;
  assert.deepEqual(judge(sent, { ...past, rival: same }), { kind: "mined", hash: "0x02" });
  assert.deepEqual(judge(sent, { ...past, rival: { ...same, status: "reverted" } }), { kind: "reverted", hash: "0x02" });
  assert.deepEqual(judge(sent, { ...past, rival: { ...same, data: "0x" } }), { kind: "cancelled" });
  assert.deepEqual(judge(sent, { ...past, rival: { ...same, to: "0xa" } }), { kind: "cancelled" });
  assert.deepEqual(judge(sent, past), { kind: "cancelled" });
});

test("leastShares: a preview less 0.1 %, rounded down", () => {
  assert.equal(leastShares(1_000_000n), 999_000n);
  assert.equal(leastShares(1n), 0n);
});

test("listWays: the fewest signatures that wallet and token allow; approval is always the last", () => {
  const able: Abilities = { isApproved: false, canBatch: false, isContract: false, hasAuthorizations: true, hasPermits: true };
  assert.deepEqual(listWays(able, false), ["authorization", "permit", "approve"]);
  assert.deepEqual(listWays({ ...able, canBatch: true }, false), ["batch", "authorization", "permit", "approve"]);
  assert.deepEqual(listWays({ ...able, hasAuthorizations: false }, false), ["permit", "approve"]);
  assert.deepEqual(listWays({ ...able, isContract: true }, false), ["approve"]);
  assert.deepEqual(listWays({ ...able, canBatch: true }, true), ["batch", "approve"]);
  assert.deepEqual(listWays({ ...able, canBatch: true, isApproved: true }, false), ["plain"]);
});

test("readEntrusted: a signed deposit of this deployment, and nothing else", () => {
  const adapter = "0x" + "aD".repeat(20);
  const overview = { chain_id: 8453, contracts: { adapter: adapter.toLowerCase() } } as Parameters<typeof readEntrusted>[1];
  const values = ["7", "1000000", "999000", "0", "1790000000", "0x" + "5a".repeat(32), "27", "0x" + "01".repeat(32), "0x" + "02".repeat(32)];
  const signed = { chainId: 8453, adapter, name: "depositWithAuthorization", values };
  assert.deepEqual(readEntrusted(JSON.stringify(signed), overview), signed);
  const others = [
    { ...signed, chainId: 1 },
    { ...signed, adapter: "0x" + "00".repeat(20) },
    { ...signed, name: "withdrawPrincipal" },
    { ...signed, name: "openWithAuthorization" },
    { ...signed, values: values.slice(1) },
    { ...signed, values: ["-7", ...values.slice(1)] },
    { ...signed, values: [7, ...values.slice(1)] },
    { ...signed, values: "123456789" },
    null,
    [],
  ];
  for (const other of others) assert.equal(readEntrusted(JSON.stringify(other), overview), null, JSON.stringify(other));
  assert.equal(readEntrusted("", overview), null);
});

/** A wallet on chain 1 that knows the chains of `known`; it switches by itself on adding, or not. */
function makeWallet(known: Set<number>, switchesOnAdd: boolean) {
  const asked: string[] = [];
  let there = 1;
  const request = async ({ method, params }: { method: string; params?: unknown }): Promise<unknown> => {
    asked.push(method);
    const [said] = (params as { chainId: string }[]) ?? [];
    const wanted = Number(said?.chainId);
    if (method === "eth_chainId") return `0x${there.toString(16)}`;
    if (method === "wallet_addEthereumChain") known.add(wanted);
    if (method === "wallet_addEthereumChain" && !switchesOnAdd) return null;
    if (!known.has(wanted)) throw { code: 4902, message: "Unrecognized chain ID" };
    there = wanted;
    return null;
  };
  return { request, asked };
}

test("switchChain: a chain that the wallet does not know is offered, then switched to", async () => {
  for (const [switchesOnAdd, asks] of [[true, 1], [false, 2]] as const) {
    const wallet = makeWallet(new Set([1]), switchesOnAdd);
    await switchChain(wallet, 8453);
    assert.equal(wallet.asked.filter((method) => method === "wallet_addEthereumChain").length, 1);
    assert.equal(wallet.asked.filter((method) => method === "wallet_switchEthereumChain").length, asks);
  }
});

test("switchChain: a chain that we know no node of is not offered; a wallet that lies is not believed", async () => {
  assert.equal(findChain(424242), null);
  await assert.rejects(switchChain(makeWallet(new Set([1]), true), 424242), (error: WalletProblem) => error.kind === "other_chain");
  const liar = { request: async ({ method }: { method: string }) => (method === "eth_chainId" ? "0x1" : null) };
  await assert.rejects(switchChain(liar, 8453), (error: WalletProblem) => error.kind === "other_chain");
});
