import assert from "node:assert/strict";
import { test } from "node:test";
import {
  depositFor,
  exact,
  exchangesFor,
  formatPpm,
  formatPrice,
  formatSpan,
  formatUsdc,
  parseUsdc,
  usdcFor,
  yieldOf,
} from "../src/amounts.ts";

test("formatUsdc: every digit, never an exponent", () => {
  assert.equal(formatUsdc(1_234_500_000n), "1,234.50");
  assert.equal(formatUsdc(2n), "0.000002");
  assert.equal(formatUsdc(0n), "0.00");
  assert.equal(formatUsdc(-1n), "−0.000001");
  assert.equal(formatUsdc(9_007_199_254_740_993_000_001n), "9,007,199,254,740,993.000001");
  assert.equal(formatPrice(200_000n), "0.20");
});

test("exact: what cannot be exact is refused, not rounded", () => {
  assert.equal(exact(4_109_589), 4_109_589n);
  assert.throws(() => exact(2 ** 53), RangeError);
  assert.throws(() => exact(0.5), RangeError);
});

test("parseUsdc: digits and a point, to 1e-6", () => {
  const amounts: [string, bigint][] = [
    ["250", 250_000_000n],
    ["250.5", 250_500_000n],
    ["1,000.000001", 1_000_000_001n],
    [" 0.1 ", 100_000n],
    ["7.", 7_000_000n],
  ];
  for (const [text, usdc] of amounts) assert.deepEqual(parseUsdc(text), { kind: "amount", usdc }, text);
  for (const text of ["", "1e3", "0x10", "-5", "1,5", "1.0000001", "٣", "12345678901234567", "1.2.3"]) {
    assert.equal(parseUsdc(text).kind, "wrong", text);
  }
});

test("yield and deposit: rounded against the hope", () => {
  assert.equal(yieldOf(1_000_000_000n, 49_999n), 49_999_000n);
  assert.equal(yieldOf(1n, 49_999n), 0n);
  assert.equal(depositFor(49_999_000n, 49_999n), 1_000_000_000n);
  assert.equal(depositFor(1n, 999_999n), 2n);
  assert.equal(depositFor(1n, 0n), null);
  assert.equal(depositFor(1n, -5n), null);
});

test("exchanges: what an amount buys, and what so many cost", () => {
  const price = { inputPerMtok: 100_000n, outputPerMtok: 400_000n, perRequest: 0n };
  assert.equal(exchangesFor(49_999_000n, price, 500n, 500n), 199_996n);
  assert.equal(usdcFor(7_300n, price, 500n, 500n), 1_825_000n);
  assert.equal(usdcFor(1n, { ...price, inputPerMtok: 1n, outputPerMtok: 0n }, 1n, 0n), 1n);
  assert.equal(exchangesFor(1n, { inputPerMtok: 0n, outputPerMtok: 0n, perRequest: 0n }, 1n, 1n), null);
  assert.equal(exchangesFor(10n, { inputPerMtok: 0n, outputPerMtok: 0n, perRequest: 3n }, 1n, 1n), 3n);
});

test("formatPpm and formatSpan: in words that people use", () => {
  assert.equal(formatPpm(49_999n), "4.99 %");
  assert.equal(formatPpm(-49_999n), "−4.99 %");
  assert.equal(formatSpan(59), "59 s");
  assert.equal(formatSpan(2_592_008), "30 days");
});
