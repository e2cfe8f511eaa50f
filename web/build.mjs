/**
 * Builds both sites into their servers' packages: `proxy/site`, `market/site`.
 *
 * Each file gets a name by its content and is compressed here, so that a server only hands out what
 * lies in memory. `site.json` says which paths are pages, and how large what a page loads is.
 */
import { readFile, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { fileURLToPath } from "node:url";
import { brotliCompress, constants, gzip } from "node:zlib";
import { build } from "vite";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const brotli = promisify(brotliCompress);
const zip = promisify(gzip);

/** Returns a file's sizes, and writes it compressed beside itself. */
async function compress(path) {
  const content = await readFile(path);
  const smaller = await brotli(content, {
    params: { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY },
  });
  await writeFile(`${path}.br`, smaller);
  await writeFile(`${path}.gz`, await zip(content, { level: 9 }));
  return { bytes: content.length, brotli_bytes: smaller.length };
}

/** Returns which files each entry and each lazily loaded module needs, by Vite's manifest. */
function listNeeds(manifest) {
  const gather = (key, seen = new Set()) => {
    const chunk = manifest[key];
    if (!seen.has(chunk.file)) {
      seen.add(chunk.file);
      for (const style of chunk.css ?? []) seen.add(style);
      for (const name of chunk.imports ?? []) gather(name, seen);
    }
    return seen;
  };
  return Object.fromEntries(
    Object.keys(manifest)
      .filter((key) => manifest[key].isEntry || manifest[key].isDynamicEntry)
      .map((key) => [manifest[key].isEntry ? "entry" : key, [...gather(key)].sort()]),
  );
}

const TEXT = join(HERE, "src", "text.ts");

/**
 * Lets each page load its own texts only: they stand in one file, and a module is one part of a build.
 * An import of several exports becomes one of each, from the same file with all others dropped.
 */
const textsByExport = {
  name: "texts-by-export",
  enforce: "pre",
  transform(code, id) {
    if (!/\.tsx?$/.test(id) || id === TEXT) return null;
    return code.replace(/import \{([^}]+)\} from "([./]+\/text\.ts)";/g, (_, names, from) =>
      names
        .split(",")
        .map((name) => name.trim())
        .filter(Boolean)
        .map((name) => `import { ${name} } from "${from}?only=${name.split(" as ")[0]}";`)
        .join(" "),
    );
  },
  async load(id) {
    const [path, only] = id.split("?only=");
    if (path !== TEXT || only === undefined) return null;
    const code = await readFile(TEXT, "utf8");
    return code.replace(/^export const (\w+)/gm, (whole, name) => (name === only ? whole : `const ${name}`));
  },
};

async function buildSite(site, pages) {
  const folder = join(HERE, "..", site, "site");
  await rm(folder, { recursive: true, force: true });
  await build({
    root: join(HERE, site),
    configFile: false,
    logLevel: "warn",
    base: "/",
    publicDir: false,
    plugins: [textsByExport],
    oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
    build: {
      outDir: folder,
      emptyOutDir: true,
      manifest: "manifest.json",
      target: "es2022",
      assetsInlineLimit: 0,
      cssCodeSplit: false,
      modulePreload: { polyfill: false },
      reportCompressedSize: false,
      chunkSizeWarningLimit: 1_000,
    },
  });
  const manifest = JSON.parse(await readFile(join(folder, "manifest.json"), "utf8"));
  await rm(join(folder, "manifest.json"));
  const sizes = {};
  for (const name of (await readdir(join(folder, "assets"))).sort()) {
    sizes[`assets/${name}`] = await compress(join(folder, "assets", name));
  }
  sizes["index.html"] = await compress(join(folder, "index.html"));
  const described = { pages, needs: listNeeds(manifest), sizes };
  await writeFile(join(folder, "site.json"), JSON.stringify(described, null, 1));
}

const sites = JSON.parse(await readFile(join(HERE, "sites.json"), "utf8"));
for (const [site, pages] of Object.entries(sites)) await buildSite(site, pages);
