import assert from "node:assert/strict";
import { test } from "node:test";
import { readEvent, readStream } from "../src/api/stream.ts";
import { gatherCells, rowsInSight, sumBy, sumDays } from "../src/usage.ts";
import { climb, commitSeller, leafOf } from "../src/wallet/verify.ts";

const line = (at: number, model: string, cost: number | null) => ({
  request_id: `${at}`,
  reserved_at_s: at,
  state: "settled",
  key_id: "k",
  model,
  cost_usdc: cost,
  prompt_tokens: 1,
  completion_tokens: 1,
});

test("sums: of all lines, exact, the dearest first; a day begins at midnight UTC", () => {
  const lines = [line(86_399, "a", 1), line(86_400, "b", 5), line(90_000, "b", null), line(90_001, "a", 2)];
  const cells = gatherCells(lines);
  assert.deepEqual(sumBy(cells, (one) => one.model), [
    { name: "b", requests: 2, costUsdc: 5n },
    { name: "a", requests: 2, costUsdc: 3n },
  ]);
  assert.deepEqual(sumDays(cells), [
    { at: 0, costUsdc: 1n },
    { at: 86_400, costUsdc: 7n },
  ]);
});

test("a year of requests: each of its days and models", () => {
  const lines = Array.from({ length: 100_000 }, (_, at) => line(at * 315, `m${at % 40}`, at % 7));
  const cells = gatherCells(lines);
  assert.equal(sumDays(cells).length, 365);
  assert.equal(sumBy(cells, (one) => one.model).length, 40);
  assert.ok(cells.length <= 365 * 40);
});

test("gatherCells: exact where a number no longer is", () => {
  const cost = 2 ** 51 + 1;
  const cells = gatherCells(Array.from({ length: 9 }, (_, at) => line(at, "a", cost)));
  assert.deepEqual(cells.map((cell) => cell.costUsdc), [9n * BigInt(cost)]);
});

test("rowsInSight: of 100,000 rows only some are drawn, wherever the list stands", () => {
  assert.deepEqual(rowsInSight(0, 520, 44, 100_000), [0, 22]);
  const [first, end] = rowsInSight(44 * 99_990, 520, 44, 100_000);
  assert.equal(end, 100_000);
  assert.ok(end - first < 50);
  assert.deepEqual(rowsInSight(0, 520, 44, 3), [0, 3]);
});

test("readStream: pieces across any cut, the cost at the end, an error in its words", async () => {
  const text =
    'data: {"choices":[{"delta":{"content":"Hé"}}]}\r\n\r\n: ping\n\ndata: {"choices":[{"delta":{"content":"llo"}}]}\n\n' +
    'data: {"choices":[],"usage":{"cost":12}}\n\ndata: [DONE]\n\n';
  const bytes = new TextEncoder().encode(text);
  for (const size of [1, 7, bytes.length]) {
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        for (let at = 0; at < bytes.length; at += size) controller.enqueue(bytes.slice(at, at + size));
        controller.close();
      },
    });
    let said = "";
    let cost: number | null = null;
    for await (const piece of readStream(body)) {
      said += piece.text;
      cost = piece.costUsdc ?? cost;
    }
    assert.deepEqual([said, cost], ["Héllo", 12], `cut each ${size}`);
  }
  assert.equal(readEvent('data: {"error":{"message":"Broke off.","cost_usdc":3}}').error, "Broke off.");
  assert.equal(readEvent("data: {not json").text, "");
});

test("climb: pairs in sorted order, and a proof of none is the leaf", () => {
  const leaf = `0x${"11".repeat(32)}` as const;
  const sibling = `0x${"22".repeat(32)}` as const;
  assert.equal(climb(leaf, []), leaf);
  assert.equal(climb(leaf, [sibling]), climb(sibling, [leaf]));
});

test("leafOf: the leaves of both versions are those of the ledger", () => {
  const first = {
    request_id: "r", token_id: 0, key_epoch: 0, model: "m", prompt_tokens: 1, cached_tokens: 0, completion_tokens: 2,
    input_usdc_per_mtok: 3, cached_input_usdc_per_mtok: 3, output_usdc_per_mtok: 4, cost_usdc: 5, posted_at_s: 6, leaf_version: 1, served: null,
  };
  const served = {
    seller: "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed", seller_salt: `0x${"ab".repeat(32)}`, offer_id: "of_1", host: "api.openai.com",
    model: "gpt-4o-2024-08-06", grade: "A", paid_by: "yield",
    seller_commitment: "0x1a7903a08806bc3a49ca5b624cb07ad5f02a6c4976e722ac0f6175e3ecd6ab1a",
  };
  const second = { ...first, leaf_version: 2, served };
  // What tests/unit/ledger/test_receipts.py has, too.
  assert.equal(leafOf(first as never), "0xa17ab3dbaa294365f07c2b16abc420f4aec5a6466d3904a5d9814a21b229a10d");
  assert.equal(leafOf(second as never), "0x33c100e387738ddde4eb0f165b593682ca2ec7fa5546b1a147c83c3f80112f0a");
  assert.equal(commitSeller(served.seller, served.seller_salt as never), served.seller_commitment);
  for (const [name, value] of Object.entries({ offer_id: "of_2", host: "evil.example", model: "gpt-4o-mini", grade: "B", paid_by: "credit" })) {
    assert.notEqual(leafOf({ ...second, served: { ...served, [name]: value } } as never), leafOf(second as never), name);
  }
});

test("leafOf: any figure that changes gives another leaf", () => {
  const receipt = {
    request_id: "r", token_id: 0, key_epoch: 0, model: "m", prompt_tokens: 1, cached_tokens: 0, completion_tokens: 2,
    input_usdc_per_mtok: 3, cached_input_usdc_per_mtok: 3, output_usdc_per_mtok: 4, cost_usdc: 5, posted_at_s: 6,
  };
  const leaf = leafOf(receipt as never);
  for (const name of Object.keys(receipt)) {
    const value = (receipt as Record<string, unknown>)[name];
    const changed = { ...receipt, [name]: typeof value === "string" ? `${value}x` : (value as number) + 1 };
    assert.notEqual(leafOf(changed as never), leaf, name);
  }
});
