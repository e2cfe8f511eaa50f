/** Reselling an API, its pure parts: what it comes to, what a document lists, what the form says. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { EMPTY, readMarkup, toBody, toPlan } from "../src/pages/resell/connection-form.ts";
import { reckon } from "../src/pages/resell/economics.ts";
import { listMethods, readDocument } from "../src/pages/resell/openapi.ts";

const planOf = (changes: Partial<typeof EMPTY>) => {
  const plan = toPlan({ ...EMPTY, buffer: "0", ...changes });
  assert.ok(plan);
  return plan;
};

test("the reference's example comes out: 5,000 of 7,000 at 0.15 are 750, 675 and +175", () => {
  assert.deepEqual(reckon(planOf({})), {
    priceUsdc: 150_000n,
    forSale: 7_000n,
    sold: 5_000n,
    revenueUsdc: 750_000_000n,
    shareUsdc: 675_000_000n,
    feeUsdc: 75_000_000n,
    netUsdc: 175_000_000n,
  });
});

test("prices round up, the owner's part of each call down, a buffer up; no more is sold than is for sale", () => {
  const tiny = reckon(planOf({ baseCost: "0.000001", markup: "1.5", guess: "9", quota: "101", reserved: "0", buffer: "2" }));
  assert.deepEqual([tiny.priceUsdc, tiny.shareUsdc, tiny.feeUsdc, tiny.forSale], [2n, 9n, 9n, 98n]);
  assert.equal(reckon(planOf({ guess: "9000" })).sold, 7_000n);
  assert.deepEqual([reckon(planOf({ reserved: "20000" })).forSale, reckon(planOf({ reserved: "20000" })).netUsdc], [0n, -500_000_000n]);
});

test("figures that cannot be read give no table, and no body", () => {
  assert.deepEqual(["3x", "2.5", "0", "-1", "3y", ""].map(readMarkup), [3_000_000n, 2_500_000n, null, null, null, null]);
  assert.equal(toPlan({ ...EMPTY, quota: "many" }), null);
  const named = { ...EMPTY, name: "chainstats", apiKey: "k" };
  const wrong = [toBody(EMPTY), toBody({ ...named, quota: "1.5" }), toBody({ ...named, baseCost: "0,05" }), toBody({ ...named, markup: "" })];
  assert.deepEqual(wrong.map((read) => read.kind === "wrong" && read.name), ["name", "quota", "baseCost", "markup"]);
  const read = toBody({ ...named, way: "header", wayName: "x-api-key", baseUrl: " " });
  assert.ok(read.kind === "body");
  assert.equal(read.body["credential"], "header: x-api-key");
  assert.ok(!("base_url" in read.body));
});

test("a document's operations: whole segments only, reading chosen, other methods named", () => {
  const document = {
    openapi: "3.1.0",
    servers: [{ url: "https://api.example" }],
    paths: {
      "/a/{id}": { get: { summary: "x".repeat(999) }, delete: {}, parameters: [] },
      "/b/{id}.json": { get: {} },
      "/c": { post: { operationId: "make" }, trace: {} },
      "/d": null,
    },
  };
  const read = readDocument(JSON.stringify(document));
  assert.ok(read.kind === "document");
  assert.deepEqual(
    read.operations.map((one) => [one.name, one.isReading, one.summary.length]),
    [["GET /a/{id}", true, 200], ["DELETE /a/{id}", false, 0], ["POST /c", false, 4]],
  );
  assert.equal(read.baseUrl, "https://api.example");
  assert.deepEqual(listMethods(["GET /a", "DELETE /a", "PATCH /b"]), ["PATCH", "DELETE"]);
});

test("what is no document says which", () => {
  const why = (text: string) => {
    const read = readDocument(text);
    return read.kind === "wrong" ? read.why : read.kind;
  };
  const others = ["openapi: 3.0.0", "[]", '{"swagger":"2.0"}', '{"openapi":"3.2.0","paths":{}}', '{"openapi":"3.0.1","paths":{}}'];
  assert.deepEqual(others.map(why), ["not_json", "not_openapi", "not_openapi", "not_openapi", "empty"]);
});
