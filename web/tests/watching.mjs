/** A page under watch: what it logs, asks, and violates is collected, and axe reads it. */
import { readFileSync } from "node:fs";

const AXE = readFileSync(new URL("../node_modules/axe-core/axe.min.js", import.meta.url), "utf8");

/** Opens a page of a context; `found` fills with what should not be there. */
export async function openWatched(context, origin, found = []) {
  const page = await context.newPage();
  page.on("pageerror", (error) => found.push(`error: ${error.message}`));
  page.on("console", (message) => {
    const isRefusal = /Failed to load resource/.test(message.text());
    if (message.type() === "error" && !isRefusal) found.push(`console: ${message.text()}`);
  });
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(`${origin}/`) && !url.startsWith("data:")) found.push(`another host: ${url}`);
  });
  await page.addInitScript(() => {
    window.__violations = [];
    document.addEventListener("securitypolicyviolation", (event) => {
      window.__violations.push(`${event.violatedDirective}: ${event.blockedURI} ${event.sample}`);
    });
  });
  return { page, found };
}

/** Returns what breaks the policy, or WCAG 2.2 AA, on the page as it stands. */
export async function examine(page) {
  const violations = await page.evaluate(() => window.__violations);
  await page.evaluate(AXE);
  const findings = await page.evaluate(async () => {
    const result = await window.axe.run(document, {
      runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    });
    return result.violations.map((one) => `axe ${one.id}: ${one.nodes.map((node) => node.html.slice(0, 160)).join(" | ")}`);
  });
  const overflow = await page.evaluate(() => {
    const over = document.documentElement.scrollWidth - document.documentElement.clientWidth;
    return over > 0 ? [`wider than the window by ${over} px`] : [];
  });
  return [...violations.map((text) => `policy ${text}`), ...findings, ...overflow];
}
