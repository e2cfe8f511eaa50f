import assert from "node:assert/strict";
import { test } from "node:test";
import { readConnectionFile, toChange } from "../src/pages/resell/connection-file.ts";
import { YamlRefused, readYaml } from "../src/pages/resell/yaml.ts";

/** As the guide for owners of APIs has it, to the letter. */
const GUIDE = `api_connections:
  - name: nansen
    api_key: "your-nansen-key"
    monthly_quota: 10000
    reserved: 3000  # Keep for yourself
    
  - name: kaito
    api_key: "your-kaito-key"
    monthly_quota: 5000
    reserved: 1500
`;

test("readConnectionFile: the guide's own file as it stands", () => {
  assert.deepEqual(readConnectionFile(GUIDE), {
    kind: "entries",
    entries: [
      { name: "nansen", body: { name: "nansen", api_key: "your-nansen-key", monthly_quota: 10_000, reserved: 3_000 } },
      { name: "kaito", body: { name: "kaito", api_key: "your-kaito-key", monthly_quota: 5_000, reserved: 1_500 } },
    ],
  });
});

test("readYaml: maps, lists, values, comments", () => {
  const text = `--- 
# a comment
a: 'it''s # no comment'
b: "line\\n\\u00e9"   # one
c: [1, "x, y", z]
d:
- GET /v1/{id}
-   name: e
    deep:
      more: ~
f: 0.05
g: 12345678901234567890
h: true
i:
j: http://host.example/#part
`;
  assert.deepEqual(readYaml(text), {
    a: "it's # no comment",
    b: "line\né",
    c: [1, "x, y", "z"],
    d: ["GET /v1/{id}", { name: "e", deep: { more: null } }],
    f: "0.05",
    g: "12345678901234567890",
    h: true,
    i: null,
    j: "http://host.example/#part",
  });
  assert.equal(readYaml(""), null);
});

test("readYaml: what it does not know is refused with its line, never guessed", () => {
  const refused: readonly (readonly [string, number])[] = [
    ["a: 1\nb: &x 2", 2],
    ["a: *x", 1],
    ["a: !!python/object 1", 1],
    ["a: {b: 1}", 1],
    ["a: |\n  text", 1],
    ["a: 1\na: 2", 2],
    ["a: 1\n  b: 2", 2],
    ["a:\n\tb: 1", 2],
    ['a: "open', 1],
    ["a: [1, [2]]", 1],
    ["a: [1", 1],
    ["just text", 1],
    ["- 1\na: 2", 2],
  ];
  for (const [text, line] of refused) {
    assert.throws(() => readYaml(text), (error) => error instanceof YamlRefused && error.line === line, text);
  }
});

test("readConnectionFile: says what is wrong with a file", () => {
  const wrong: readonly (readonly [string, string])[] = [
    ["connections:\n  - name: a", "no_list"],
    ["api_connections: []", "no_list"],
    ["api_connections:\n  - api_key: a", "no_name"],
    ["api_connections:\n  - name: a\n  - name: a", "twice"],
    [`api_connections:\n${"  - name: a\n".repeat(51)}`, "too_many"],
  ];
  for (const [text, why] of wrong) assert.deepEqual(readConnectionFile(text), { kind: "wrong", why }, text);
  assert.deepEqual(readConnectionFile("api_connections: {}"), { kind: "wrong", why: "line", line: 1 });
});

test("toChange: neither name nor payee of a connection that is there", () => {
  const body = { name: "a", payout_address: "0x1", reserved: 5 };
  assert.deepEqual(toChange({ name: "a", body }), { reserved: 5, status: "enabled" });
});
