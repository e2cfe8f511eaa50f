/**
 * Opens pages as a visitor and reports, as JSON: each page's text and what is wrong with it.
 *
 *     node web/tests/look.mjs '{"origin": "http://…", "looks": [{"path": "/", "until": "text"}], "folder": null}'
 *
 * Exit code 77: no browser runs here.
 */
import { join } from "node:path";
import { BROWSER_MISSING, LIMIT_MS, startBrowser } from "./browser.mjs";
import { examine, openWatched } from "./watching.mjs";

const { origin, looks, folder } = JSON.parse(process.argv[2]);
const browser = await startBrowser();
if (!browser) {
  console.error(BROWSER_MISSING);
  process.exit(77);
}
const reports = [];
for (const look of looks) {
  const context = await browser.newContext({
    colorScheme: look.scheme ?? "light",
    viewport: { width: look.width ?? 1280, height: 900 },
    reducedMotion: "reduce",
    locale: "en-US",
  });
  const { page, found } = await openWatched(context, origin);
  const response = await page.goto(origin + look.path, { timeout: LIMIT_MS });
  await page.getByText(look.until).first().waitFor({ timeout: LIMIT_MS });
  found.push(...(await examine(page)));
  if (folder) await page.screenshot({ path: join(folder, `${look.name}.png`), fullPage: true });
  const text = await page.evaluate(() => document.body.innerText);
  reports.push({ status: response.status(), title: await page.title(), text, found });
  await context.close();
}
await browser.close();
console.log(JSON.stringify(reports));
