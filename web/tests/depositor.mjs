/**
 * The depositor's journey on a running stack: a stranger deposits, gets a key, chats, verifies, revokes
 * and withdraws, and reads nothing but the pages.
 *
 *     node web/tests/depositor.mjs '{"origin": …, "rpcUrl": …, "usdc": …, "key": …, "folder": null, "isWhole": true}'
 */
import { join } from "node:path";
import { BROWSER_MISSING, LIMIT_MS, startBrowser } from "./browser.mjs";
import { TestWallet } from "./wallet.mjs";
import { examine, openWatched } from "./watching.mjs";

const { origin, rpcUrl, key, chainId = 31337, folder, isWhole = true, scheme = "light", width = 1280 } = JSON.parse(process.argv[2]);
const browser = await startBrowser();
if (!browser) {
  console.error(BROWSER_MISSING);
  process.exit(77);
}
const context = await browser.newContext({ colorScheme: scheme, viewport: { width, height: 900 }, reducedMotion: "reduce", locale: "en-US" });
context.setDefaultTimeout(LIMIT_MS);
const wallet = new TestWallet({ rpcUrl, key, chainId });
await wallet.install(context);
const { page, found } = await openWatched(context, origin);
const steps = [];
let at = 0;

async function look(name) {
  for (const finding of await examine(page)) found.push(`${name}: ${finding}`);
  if (folder) await page.screenshot({ path: join(folder, `${String(++at).padStart(2, "0")}-${name}.png`), fullPage: true });
  steps.push(name);
}
const button = (name) => page.getByRole("button", { name, exact: true });
const link = (name) => page.getByRole("navigation").getByRole("link", { name, exact: true });

try {
  await page.goto(`${origin}/`);
  await page.getByText("Yes, at this moment.").waitFor();
  await look("home");

  await link("Deposit").click();
  await page.getByLabel("Amount, in USDC").fill("1000");
  await look("deposit-empty");
  await button("Connect a wallet").last().click();
  await page.getByRole("button", { name: "Test wallet" }).click();
  await button("Deposit").waitFor();
  await page.getByRole("checkbox").check();
  await look("deposit");
  await button("Deposit").click();
  await page.getByRole("heading", { name: /^Position \d+$/ }).waitFor();
  await page.getByText("What you can do").waitFor();
  const tokenId = page.url().split("/").pop();
  await look("position");

  await link("Keys").click();
  await button("Sign in with the wallet").click();
  await button("Get an API key").click();
  await page.getByText("This key is shown this once").waitFor();
  await look("keys");

  if (isWhole) {
    await link("Position").click();
    await page.getByRole("link", { name: `Position ${tokenId}` }).click();
    await wallet.node.request({ method: "evm_increaseTime", params: [30 * 86_400] }).catch(() => null);
    await button("Harvest now").click();
    await page.getByText("Harvest now: done.").waitFor();

    await link("Models").click();
    await page.getByLabel("Your question").fill("Say hello.");
    await button("What would it cost?").click();
    await page.getByText(/at most .* USDC/).waitFor();
    await look("models");
    await button("Ask").click();
    await page.getByText(/It cost .* USDC\./).waitFor();
    await look("chat");

    await link("Usage").click();
    await page.getByText("settled on chain").first().waitFor({ timeout: 5_000 }).catch(() => null);
    for (let tries = 0; tries < 40 && !(await page.getByText("settled on chain").count()); tries++) {
      await new Promise((resolve) => setTimeout(resolve, 1_000));
      await page.reload();
      await page.getByText("Each request").waitFor();
    }
    await look("usage");
    await button("Verify").first().click();
    await page.getByText(/^True: the chain has this charge/).waitFor();
    await look("verified");

    await link("Position").click();
    await page.getByRole("link", { name: `Position ${tokenId}` }).click();
    await button("Revoke all issued API keys").click();
    await page.getByText("Every key is void.").waitFor();
    await look("revoked");
    await button("Take unspent yield out").click();
    await page.getByText("unspent yield are in your wallet").waitFor();
    await button("Take everything").click();
    await page.getByText("0.00 USDC of principal are left").waitFor();
    await look("withdrawn");
  }
  const stored = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }]));
  console.log(JSON.stringify({ steps, found, stored, tokenId, asked: wallet.asked }));
} catch (error) {
  if (folder) await page.screenshot({ path: join(folder, "failed.png"), fullPage: true }).catch(() => null);
  console.error(`after ${steps.join(", ")}: ${error.message}\n${(await page.evaluate(() => document.body.innerText)).slice(0, 3_000)}\n${found.join("\n")}`);
  process.exitCode = 1;
} finally {
  await browser.close();
}
