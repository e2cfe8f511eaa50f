import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { encodeQr, toPath } from "../src/app/qr.ts";

test("encodeQr: square by square what another implementation draws, of every size", () => {
  // By python-qrcode 8, level M, bytes; SHA-256 of its rows of 0 and 1.
  const known: readonly (readonly [string, number, string])[] = [
    ["A", 0, "2bae48594b7325872d655a95d8814f09f3825eba52faa8c8b4e3c6dd453105e5"],
    ["otpauth://totp/Current:someone%40company.example?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=Current", 3, "dc7c1c0c8d92e501ada52c7c66ba084d91db365bcbcc810ce989ba61d9b58e00"],
    ["otpauth://totp/Current:someone%40company.example?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=Current", 6, "9022b85a693987cd02c674171e4698d0fcaf25887b0e13d8e951e7d1bf3fc274"],
    ["x".repeat(230), 4, "e92c0d73ce83a6e1af7cd562931d1c21e9acd24adda8b3adab735f128354102a"],
    ["y".repeat(400), 7, "16db5a67b1d380bc5874c32e52233ec2acf0c59cbbfe12e46a0ef75f0af753d2"],
  ];
  for (const [text, mask, digest] of known) {
    const rows = encodeQr(text, mask)?.map((row) => row.map(Number).join("")).join("\n") ?? "";
    assert.equal(createHash("sha256").update(rows).digest("hex"), digest, `${text.slice(0, 12)} ${mask}`);
  }
});

test("encodeQr: the mask that reads best is one of the eight; what is too long is none", () => {
  const text = "otpauth://totp/Current:someone%40company.example?secret=JBSWY3DPEHPK3PXP";
  const chosen = JSON.stringify(encodeQr(text));
  assert.ok([...Array(8).keys()].some((mask) => JSON.stringify(encodeQr(text, mask)) === chosen));
  assert.equal(encodeQr("x".repeat(500)), null);
});

test("toPath: a square for each that is dark", () => {
  assert.equal(toPath([[true, false], [false, true]]), "M0 0h1v1h-1zM1 1h1v1h-1z");
});
