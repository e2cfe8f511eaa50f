/** What journeys through the pages share: visitors with browsers of their own, each step looked at. */
import { join } from "node:path";
import { BROWSER_MISSING, LIMIT_MS, startBrowser } from "./browser.mjs";
import { examine, openWatched } from "./watching.mjs";

/** Begins a journey by a wish's `origin`, `scheme`, `width` and `folder`. Ends the process with 77 where no browser runs. */
export async function beginJourney({ origin, folder, scheme = "light", width = 1280 }) {
  const browser = await startBrowser();
  if (!browser) {
    console.error(BROWSER_MISSING);
    process.exit(77);
  }
  const found = [];
  const steps = [];
  let acting = null;

  /** Opens another visitor: with cookies of its own. */
  async function visit(install = async () => {}) {
    const context = await browser.newContext({
      colorScheme: scheme,
      viewport: { width, height: 900 },
      reducedMotion: "reduce",
      locale: "en-US",
      acceptDownloads: true,
    });
    context.setDefaultTimeout(LIMIT_MS);
    await install(context);
    const watched = await openWatched(context, origin, found);
    acting = watched.page;
    return {
      page: watched.page,
      button: (name) => watched.page.getByRole("button", { name, exact: true }),
      field: (name) => watched.page.getByLabel(name, { exact: true }),
    };
  }

  /** Looks at a page as it stands: what is wrong with it is found, and a picture is kept. */
  async function look(page, name) {
    acting = page;
    for (const finding of await examine(page)) found.push(`${name}: ${finding}`);
    steps.push(name);
    const number = String(steps.length).padStart(2, "0");
    if (folder) await page.screenshot({ path: join(folder, `${number}-${name}.png`), fullPage: true });
  }

  /** Carries the journey out, and prints what it found; where it stops, the page that it stopped at. */
  async function walk(journey) {
    try {
      const said = await journey();
      console.log(JSON.stringify({ steps, found, ...said }));
    } catch (error) {
      console.error(`after ${steps.join(", ")}: ${error.message}\n${found.join("\n")}\n${await readPage(acting, folder)}`);
      process.exitCode = 1;
    } finally {
      await browser.close();
    }
  }

  return { visit, look, walk };
}

async function readPage(page, folder) {
  if (!page) return "";
  if (folder) await page.screenshot({ path: join(folder, "failed.png"), fullPage: true }).catch(() => null);
  return page
    .evaluate(() => {
      for (const option of document.querySelectorAll("option")) option.remove();
      return document.body.innerText.slice(0, 4_000);
    })
    .catch((error) => error.message);
}

/** Returns what the browser's storage holds. */
export function readStorage(page) {
  return page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }]));
}
