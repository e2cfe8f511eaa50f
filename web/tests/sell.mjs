/**
 * A seller with a wallet: signs in, lists an offer, changes it, looks at earnings, signs out.
 *
 *     node web/tests/sell.mjs '{"origin": …, "key": …, "endpoint": …, "model": …, "folder": null}'
 */
import { readFile } from "node:fs/promises";
import { beginJourney, readStorage } from "./journey.mjs";
import { TestWallet } from "./wallet.mjs";

const wish = JSON.parse(process.argv[2]);
const { origin, key, endpoint, model } = wish;
const { visit, look, walk } = await beginJourney(wish);
const wallet = new TestWallet({ rpcUrl: "http://127.0.0.1:9", key, chainId: 31337 });

await walk(async () => {
  const { page, button, field } = await visit((context) => wallet.install(context));
  await page.goto(`${origin}/sell`);
  await button("Connect a wallet").last().click();
  await page.getByRole("button", { name: "Test wallet" }).click();
  await button("Sign in with the wallet").click();
  await page.getByText("Add Offer").click();
  await field("Base URL").fill(endpoint);
  await field("The provider's API key").fill("sk-provider");
  await button("Discover Models").click();
  await page.getByText(/^The key serves \d+ models/).waitFor();
  await field("Model").fill(model);
  await button("List the offer").click();
  await page.getByText("Listed.").waitFor();
  await page.getByText("Add Offer").click();
  await page.getByText("0.5 × reference").waitFor();
  await button("Edit").click();
  await page.locator("form.card").getByLabel("Part of the reference price").fill("0,4");
  await button("Save the change").click();
  await page.getByText("Write prices with digits and a point").waitFor();
  await page.locator("form.card").getByLabel("Part of the reference price").fill("0.4");
  await page.locator("form.card").getByLabel("Most in a day, US dollars").fill("12.5");
  await look(page, "sell-edit");
  await button("Save the change").click();
  await page.getByText("0.4 × reference").waitFor();
  await page.getByText("12.50 USD").waitFor();
  await page.reload();
  await page.getByText("0.4 × reference").waitFor();
  await page.getByText("Where you are signed in").click();
  await page.getByText("This browser").waitFor();
  const [download] = await Promise.all([page.waitForEvent("download"), button("Earnings as CSV").click()]);
  const csv = await readFile(await download.path(), "utf8");
  await look(page, "sell");
  await button("Sign out").click();
  await button("Sign in with the wallet").waitFor();
  return { csv, storage: await readStorage(page), asked: wallet.asked };
});
