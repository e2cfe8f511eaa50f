import assert from "node:assert/strict";
import { test } from "node:test";
import { fillPath } from "../src/api/http.ts";
import { dataOf, nextRemote, type Remote } from "../src/app/remote.ts";
import { findPage } from "../src/app/shell.tsx";

const error = new Error("The server cannot be reached.");

test("nextRemote: what was shown stays, marked as stale, until the server answers again", () => {
  const ready = nextRemote<number>({ kind: "loading" }, { kind: "arrived", data: 7, atMs: 1 });
  const stale = nextRemote(ready, { kind: "failed", error });
  assert.deepEqual(stale, { kind: "stale", data: 7, atMs: 1, error });
  assert.equal(dataOf(nextRemote(stale, { kind: "failed", error })), 7);
  assert.deepEqual(nextRemote(stale, { kind: "arrived", data: 8, atMs: 2 }), { kind: "ready", data: 8, atMs: 2 });
});

test("nextRemote: nothing is shown of what never arrived, nor of another key", () => {
  const failed = nextRemote<number>({ kind: "loading" }, { kind: "failed", error });
  assert.deepEqual(failed, { kind: "failed", error });
  assert.equal(dataOf(failed), undefined);
  const ready: Remote<number> = { kind: "ready", data: 7, atMs: 1 };
  assert.deepEqual(nextRemote(ready, { kind: "restart" }), { kind: "loading" });
});

test("fillPath: parameters cannot leave their place", () => {
  assert.equal(
    fillPath("/positions/{tokenId}", { path: { tokenId: "../keys?x=1" }, query: { cursor: "a&b", limit: undefined } }),
    "/positions/..%2Fkeys%3Fx%3D1?cursor=a%26b",
  );
});

test("findPage: a page, a page with one part more, or none", () => {
  const pages = [{ path: "/" }, { path: "/position" }];
  assert.deepEqual(findPage(pages, "/position/7")?.rest, ["7"]);
  assert.equal(findPage(pages, "/")?.page.path, "/");
  for (const path of ["/position/7/8", "/position/", "/positions", "/x"]) assert.equal(findPage(pages, path), null, path);
});
