/** Suppliers' pages, their pure parts: what people type, owners with gaps, ways to go on, whole tables. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Http } from "../src/api/http.ts";
import { listDecisions } from "../src/pages/review/decide.tsx";
import { toDataUrl } from "../src/pages/review/document-look.tsx";
import { gatherCsv } from "../src/app/download.tsx";
import { typeOf } from "../src/pages/supplier/intake-documents.tsx";
import { findNext } from "../src/pages/supplier/login.tsx";
import { explorerOf, parseDecimal, showDecimal } from "../src/app/money.tsx";
import { readTerms } from "../src/pages/supplier/offer-form.tsx";
import { adoptSaved, findGap, newRow, sumShares, toWish } from "../src/pages/supplier/owner-rows.ts";
import { formatBytes, parseTokens, splitList } from "../src/app/words.ts";

test("counts of tokens: with marks and scales, and nothing that is not whole", () => {
  const read = ["5M", "5,000,000", " 1b ", "1_000", "0", "1.5M", "-1", "", "1e6", "99999999999999999"].map(parseTokens);
  assert.deepEqual(read, [5_000_000, 5_000_000, 1_000_000_000, 1_000, null, null, null, null, null, null]);
});

test("lists and sizes, as they are typed and shown", () => {
  assert.deepEqual(splitList(" OpenAI,, Anthropic;\nGroq "), ["OpenAI", "Anthropic", "Groq"]);
  assert.deepEqual([0, 1_023, 1_024, 10_485_760].map(formatBytes), ["0 bytes", "1023 bytes", "1.0 kB", "10.0 MB"]);
});

test("decimal strings stay exact to the last digit", () => {
  assert.equal(parseDecimal("9007199254740993.000001"), 9007199254740993000001n);
  assert.deepEqual(["1234567.5", "0.000002", "-3", "x"].map(showDecimal), ["1,234,567.50", "0.000002", "−3.00", "x"]);
});

test("a sign-in leads to pages of ours only, else by the account", () => {
  const account = (role: string, kyb_status: string) => ({ role, kyb_status }) as Parameters<typeof findNext>[1];
  const approved = account("supplier", "approved");
  assert.equal(findNext("/supply-dashboard.html?tab=offers", approved), "/supply-dashboard.html?tab=offers");
  for (const bad of ["//evil.example", "https://evil.example/review", "/\\evil.example", "/v1/supply/sessions", "javascript:alert(1)"]) {
    assert.equal(findNext(bad, approved), "/supply-dashboard.html");
  }
  assert.equal(findNext(null, account("supplier", "draft")), "/supplier-kyb-intake.html");
  assert.deepEqual([findNext(null, account("reviewer", "draft")), findNext(null, account("operator", "draft"))], ["/review", "/operator"]);
});

test("owners: a row with a gap is not sent; a saved number is not kept in the page", () => {
  const whole = { ...newRow(), legalName: "Ana", nationality: "DE", idNumber: "K 1", share: "33.3 %" };
  assert.match(findGap([whole, newRow()]) ?? "", /^person 2 /);
  assert.equal(findGap([whole]), null);
  assert.equal(toWish(whole)["share_pct"], "33.3");
  const stored = { owner_id: "o1", legal_name: "Ana", nationality: "DE", id_type: "passport", role: "beneficial_owner", share_pct: "33.3" } as const;
  const [adopted] = adoptSaved([{ ...whole, legalName: "Ana M." }], [whole], [stored]);
  assert.deepEqual([adopted?.ownerId, adopted?.idNumber, adopted?.legalName], ["o1", "", "Ana M."]);
  const [typing] = adoptSaved([{ ...whole, idNumber: "K 12" }], [whole], [stored]);
  assert.equal(typing?.idNumber, "K 12");
  assert.equal(sumShares([whole, { ...whole, share: "10" }, newRow()]), "43.3");
});

test("an offer's terms: empty ceilings are none, a comma is no point", () => {
  const form = { bid: "0.15", rpm: "", quota: "1B", basis: "", baseUrl: "", apiKey: "" };
  assert.deepEqual(readTerms(form), {
    kind: "terms",
    terms: { bid_price_per_1m_usdt: "0.15", rate_limit_rpm: null, quota_total: 1_000_000_000, legal_basis: null },
  });
  assert.equal(readTerms({ ...form, bid: "0,15" }).kind, "wrong");
  assert.equal(readTerms({ ...form, rpm: "many" }).kind, "wrong");
});

test("documents by their name, transactions by network and hash: nothing else becomes a link", () => {
  assert.deepEqual(["a.PDF", "b.jpeg", "c.html", "pdf"].map(typeOf), ["application/pdf", "image/jpeg", null, "application/pdf"]);
  const hash = `0x${"5a".repeat(32)}`;
  assert.deepEqual([8453, 84532, 31337].map((chain) => explorerOf("base", chain, hash)?.host), ["basescan.org", "sepolia.basescan.org", undefined]);
  assert.equal(explorerOf("erc20", 31337, hash)?.url, `https://etherscan.io/tx/${hash}`);
  assert.equal(explorerOf("base", 8453, "javascript:alert(1)"), null);
});

test("a table of several pages has one header, and all lines", async () => {
  const pages: Record<string, [string, string | null]> = { "": ["a,b\r\n1,2\r\n", "c1"], c1: ["a,b\r\n3,4\r\n", null] };
  const http: Http = {
    async send(_, path) {
      const url = new URL(path, "http://market");
      const [table, next] = pages[url.searchParams.get("cursor") ?? ""] ?? ["", null];
      return new Response(url.pathname === "/list" ? JSON.stringify({ next_cursor: next }) : table);
    },
  };
  assert.equal(await gatherCsv(http, { list: "/list", csv: "/csv" }), "a,b\r\n1,2\r\n3,4\r\n");
});

test("decisions: those of the state, and an operator's for operators only", () => {
  assert.deepEqual(listDecisions("under_review", false), ["approve", "revise", "reject"]);
  assert.deepEqual([listDecisions("approved", false), listDecisions("approved", true)], [["revise"], ["revise", "suspend"]]);
  assert.deepEqual([listDecisions("rejected", true), listDecisions("suspended", true)], [[], ["reinstate"]]);
});

test("a picture's bytes become a data URL, however many", () => {
  const data = new Uint8Array(100_000).map((_, at) => at % 251);
  const url = toDataUrl(data, "image/png");
  assert.deepEqual(new Uint8Array(Buffer.from(url.slice("data:image/png;base64,".length), "base64")), data);
});
