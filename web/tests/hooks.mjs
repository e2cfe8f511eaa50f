/** What `loader.mjs` registers. */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { transformWithOxc } from "vite";

const OPTIONS = { jsx: { runtime: "automatic", importSource: "preact" }, target: "es2022", sourcemap: false };

export async function load(url, context, nextLoad) {
  if (!/\.tsx?$/.test(url)) return nextLoad(url, context);
  const path = fileURLToPath(url);
  const { code } = await transformWithOxc(await readFile(path, "utf8"), path, OPTIONS);
  return { format: "module", source: code, shortCircuit: true };
}
