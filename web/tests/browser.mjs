/**
 * A Chromium for tests: the one that comes by npm, with its own libraries, else one that is
 * installed. `BROWSER_MISSING` says how to get one.
 */
import { execFileSync } from "node:child_process";
import { createReadStream, createWriteStream, existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createBrotliDecompress } from "node:zlib";
import { fileURLToPath } from "node:url";

/** How long a page, a mail or the browser itself may take on a busy machine. */
export const LIMIT_MS = 90_000;

export const BROWSER_MISSING =
  "no Chromium runs here: `make setup` brings one for Linux on x64; elsewhere install chromium and name it in CHROMIUM";

const INSTALLED = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--headless=shell"];

/** Unpacks one brotli file once; several processes may do so at a time. */
async function unpack(from, to) {
  if (existsSync(to)) return to;
  const draft = `${to}.${process.pid}`;
  await pipeline(createReadStream(from), createBrotliDecompress(), createWriteStream(draft, { mode: 0o755 }));
  renameSync(draft, to);
  return to;
}

/** Unpacks an archive beside `made`, one of its entries, which is there only once all the others are. */
function extract(tar, folder, made) {
  const draft = mkdtempSync(join(folder, "draft-"));
  execFileSync("tar", ["-xf", tar, "-C", draft]);
  const names = readdirSync(draft).sort((one, other) => Number(one === made) - Number(other === made));
  for (const name of names) {
    try {
      renameSync(join(draft, name), join(folder, name));
    } catch (error) {
      // Another process was quicker.
      if (!existsSync(join(folder, name))) throw error;
    }
  }
  rmSync(draft, { recursive: true, force: true });
}

/** Returns the executable and its environment; null where there is none. */
export async function findBrowser() {
  const named = process.env.CHROMIUM;
  if (named) return { executablePath: named, env: process.env };
  const installed = INSTALLED.find((path) => existsSync(path));
  if (installed) return { executablePath: installed, env: process.env };
  if (process.platform !== "linux" || process.arch !== "x64") return null;
  const bin = fileURLToPath(new URL("../node_modules/@sparticuz/chromium/bin", import.meta.url));
  if (!existsSync(join(bin, "chromium.br"))) return null;
  const folder = join(tmpdir(), `current-chromium-${process.getuid?.() ?? 0}`);
  mkdirSync(folder, { recursive: true });
  const executablePath = await unpack(join(bin, "chromium.br"), join(folder, "chromium"));
  const archives = [["al2023.tar.br", "lib"], ["swiftshader.tar.br", "libEGL.so"], ["fonts.tar.br", "fonts"]];
  for (const [name, made] of archives) {
    if (existsSync(join(folder, made)) || !existsSync(join(bin, name))) continue;
    const tar = await unpack(join(bin, name), join(folder, `${name.split(".")[0]}.tar`));
    extract(tar, folder, made);
  }
  const libraries = [join(folder, "lib"), join(folder, "al2023", "lib"), process.env.LD_LIBRARY_PATH].filter(Boolean);
  return { executablePath, env: { ...process.env, LD_LIBRARY_PATH: libraries.join(":"), HOME: folder } };
}

/** Starts the browser; null where there is none. */
export async function startBrowser() {
  const found = await findBrowser();
  if (!found) return null;
  const { chromium } = await import("playwright-core");
  return chromium.launch({ ...found, args: FLAGS, headless: true, timeout: LIMIT_MS });
}
