/**
 * How quickly the proxy's pages are there, for `make bench-web`. Prints JSON; times are in milliseconds.
 *
 *     node web/tests/bench.mjs '{"origin": "http://…", "rows": 100000}'
 *     node web/tests/bench.mjs '{"origin": "http://…", "files": ["/", …], "everyMs": 50}'
 *
 * The first opens each view, then a year of `rows` requests, which it answers itself. The second asks for
 * `files` again and again, as visitors do, until it is stopped.
 */
import { BROWSER_MISSING, startBrowser } from "./browser.mjs";

const wish = JSON.parse(process.argv[2]);
const PAGE = 1_000;
const YEAR_S = 365 * 86_400;
const SCROLLS = 120;

if (wish.files) await visitForEver(wish);
else await measure(wish);

async function visitForEver({ origin, files, everyMs }) {
  for (;;) {
    const next = new Promise((resolve) => setTimeout(resolve, everyMs));
    await Promise.all(files.map(async (path) => (await fetch(origin + path)).arrayBuffer()));
    await next;
  }
}

/** A year of requests, evenly spread, newest first. */
function makeLine(at, rows, nowS) {
  return {
    request_id: `request-${at}`,
    reserved_at_s: nowS - Math.floor((at * (YEAR_S - 86_400)) / rows),
    state: "settled",
    key_id: `key-${at % 7}`,
    model: `model-${at % 12}`,
    prompt_tokens: 900 + (at % 300),
    cached_tokens: 0,
    completion_tokens: 200,
    input_usdc_per_mtok: 200_000,
    output_usdc_per_mtok: 800_000,
    ceiling_usdc: 1_000,
    cost_usdc: 340 + (at % 60),
    batch_id: null,
  };
}

async function measure({ origin, rows }) {
  const browser = await startBrowser();
  if (!browser) {
    console.error(BROWSER_MISSING);
    process.exit(77);
  }
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, locale: "en-US" });
  const page = await context.newPage();
  const asked = [];
  page.on("request", (request) => {
    const path = new URL(request.url()).pathname;
    if (path.startsWith("/api/") || path.startsWith("/v1/")) asked.push(path);
  });
  await page.goto(`${origin}/`, { waitUntil: "load" });
  const found = { first_paint_ms: await readFirstPaint(page), views: {} };
  await page.waitForLoadState("networkidle");
  found.views["/"] = { requests: asked.splice(0).length };
  for (const path of ["/deposit", "/position", "/keys", "/models", "/usage"]) {
    const cold_ms = await clickTo(page, path);
    await page.waitForLoadState("networkidle");
    const requests = asked.splice(0);
    await clickTo(page, "/");
    const warm_ms = await clickTo(page, path);
    await page.waitForLoadState("networkidle");
    asked.length = 0;
    found.views[path] = { cold_ms, warm_ms, requests: requests.length };
  }
  found.usage = await measureUsage(page, origin, rows);
  await browser.close();
  console.log(JSON.stringify(found));
}

function readFirstPaint(page) {
  return page.evaluate(
    () =>
      new Promise((resolve) => {
        const look = () => {
          const paint = performance.getEntriesByName("first-contentful-paint")[0];
          if (paint) resolve(paint.startTime);
          else requestAnimationFrame(look);
        };
        look();
      }),
  );
}

/** From the click on a link to the frame after the page's heading is drawn. */
function clickTo(page, path) {
  return page.evaluate(
    (path) =>
      new Promise((resolve) => {
        const before = document.querySelector("main h1");
        const began = performance.now();
        document.querySelector(`header a[href="${path}"]`).click();
        const look = () => {
          const heading = document.querySelector("main h1");
          if (!heading || heading === before) return requestAnimationFrame(look);
          return requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - began)));
        };
        look();
      }),
    path,
  );
}

async function measureUsage(page, origin, rows) {
  const nowS = Math.floor(Date.now() / 1_000);
  const json = (body) => ({ contentType: "application/json", body: JSON.stringify(body) });
  const position = { token_id: 0, principal_usdc: 1_000_000_000, vault_address: `0x${"11".repeat(20)}` };
  const session = { address: `0x${"22".repeat(20)}`, session_id: "s", expires_at_s: nowS + 9_999, sessions: [], positions: [position] };
  await page.route("**/api/current/session", (route) => route.fulfill(json(session)));
  await page.route("**/api/current/usage?**", (route) => {
    const from = Number(new URL(route.request().url()).searchParams.get("cursor") ?? 0);
    const end = Math.min(rows, from + PAGE);
    const data = Array.from({ length: end - from }, (_, at) => makeLine(from + at, rows, nowS));
    return route.fulfill(json({ data, next_cursor: end < rows ? String(end) : null }));
  });
  const began = Date.now();
  await page.goto(`${origin}/usage`);
  await page.locator("select").first().selectOption("365");
  await page.waitForFunction((text) => document.querySelector(".figures")?.textContent.includes(text), rows.toLocaleString("en-US"), { timeout: 300_000 });
  await page.locator(".rows .line").first().waitFor();
  const loaded_ms = Date.now() - began;
  return { loaded_ms, ...(await page.evaluate(drawAndScroll, SCROLLS)) };
}

/** In the page: a change of the filter adds all up and plots it again; then the list is scrolled from end to end. */
async function drawAndScroll(scrolls) {
  const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
  const select = document.querySelectorAll("main select")[1];
  const plots = [];
  for (const model of ["model-1", "", "model-2", ""]) {
    const canvas = document.querySelector(".plot canvas");
    const began = performance.now();
    select.value = model;
    select.dispatchEvent(new Event("change", { bubbles: true }));
    while (document.querySelector(".plot canvas") === canvas || !document.querySelector(".plot canvas")) await frame();
    await frame();
    plots.push(performance.now() - began);
  }
  const box = document.querySelector(".rows");
  const frames = [];
  let last = performance.now();
  for (let at = 0; at <= scrolls; at++) {
    box.scrollTop = (box.scrollHeight * at) / scrolls;
    await frame();
    const now = performance.now();
    frames.push(now - last);
    last = now;
  }
  await frame();
  return {
    plot_ms: Math.max(...plots),
    rows_drawn: document.querySelectorAll(".rows .line").length,
    is_at_end: [...document.querySelectorAll(".rows .line")].at(-1)?.getAttribute("aria-rowindex"),
    longest_frame_ms: Math.max(...frames),
    median_frame_ms: frames.sort((a, b) => a - b)[Math.floor(frames.length / 2)],
  };
}
