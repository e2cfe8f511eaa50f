/**
 * An approved supplier at its dashboard: lists an offer that answers its probe and one that does not, reads
 * what it sold and was paid, sets an address, turns on one-time codes, makes a key, signs in with a code.
 *
 *     node web/tests/dashboard.mjs '{"origin": …, "email": …, "password": …, "endpoint": …, "folder": null}'
 */
import { createHmac } from "node:crypto";
import { readFile } from "node:fs/promises";
import { beginJourney, readStorage } from "./journey.mjs";

const wish = JSON.parse(process.argv[2]);
const { origin, email, password, endpoint } = wish;
const ADDRESS = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
const { visit, look, walk } = await beginJourney(wish);

/** Returns the one-time code of a base32 secret (RFC 6238); `later` steps of 30 s to come. */
function readCode(secret, later = 0) {
  const bits = [...secret].map((one) => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(one).toString(2).padStart(5, "0")).join("");
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
  const step = Buffer.alloc(8);
  step.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000) + later));
  const mac = createHmac("sha1", key).update(step).digest();
  const at = mac[19] & 15;
  return String((mac.readUInt32BE(at) & 0x7fffffff) % 1_000_000).padStart(6, "0");
}

await walk(async () => {
  const { page, button, field } = await visit();
  const tab = (name) => page.getByRole("navigation", { name: "Supplier dashboard" }).getByRole("link", { name, exact: true });
  await page.goto(`${origin}/docs.html`);
  await page.getByRole("heading", { name: "How a payout address looks" }).waitFor();
  await look(page, "formats");
  await page.goto(`${origin}/supply-dashboard.html`);
  await page.getByText("Sign in to see this page.").waitFor();
  await page.getByRole("link", { name: "Sign in", exact: true }).click();
  await look(page, "sign-in");
  await field("E-mail").fill(email);
  await field("Password").fill("not this one");
  await button("Sign in").click();
  await page.getByText("The address or the password is wrong.").waitFor();
  await field("Password").fill(password);
  await button("Sign in").click();
  await page.getByText("Today (UTC)").waitFor();
  await look(page, "overview");

  await tab("Offers").click();
  const add = async (model, url, bid) => {
    await field("Models").fill(model);
    await field("Base URL").fill(url);
    await field("API key of the provider").fill("sk-provider");
    await field("Bid price, USDT for 1M tokens").fill(bid);
    await field("Rate limit, requests a minute").fill("1000");
    await field("Total quota, tokens").fill("1B");
    await button("Save the offer").click();
  };
  await page.getByText("Add offer").click();
  await add("gpt-4o", endpoint, "0,15");
  await page.getByText("Write a price above zero with digits and a point").waitFor();
  await look(page, "offer-wrong");
  await field("Bid price, USDT for 1M tokens").fill("0.15");
  await button("Save the offer").click();
  const card = page.locator("li.card").filter({ hasText: "gpt-4o" });
  await card.getByText(/^The probe of .* worked\.$/).waitFor();
  await page.getByText("Add offer").click();
  await add("unpriced-model", "http://127.0.0.1:9/v1", "0.20");
  await page.getByText(/^The probe of .* failed\.$/).waitFor();
  await look(page, "offers");
  await card.getByRole("button", { name: "Pause" }).click();
  await card.getByText("Routing skips this offer.").waitFor();
  await card.getByRole("button", { name: "Resume" }).click();
  await card.getByText("The offer is in the routing pool.").waitFor();
  await card.getByRole("button", { name: "Edit" }).click();
  await card.getByLabel("Bid price, USDT for 1M tokens").fill("0.14");
  await look(page, "offer-edit");
  await card.getByRole("button", { name: "Save the change" }).click();
  await card.getByText("0.14 USDT").waitFor();

  await tab("Payouts").click();
  await page.getByTitle(`0x${"5a".repeat(32)}`).waitFor();
  await look(page, "payouts");
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "Download all as CSV" }).click()]);
  const csv = await readFile(await download.path(), "utf8");
  await tab("Usage").click();
  await page.getByText("Tokens by day").first().waitFor();
  await look(page, "usage");

  await tab("Settings").click();
  await field("Network").selectOption("base");
  await field("Address").fill(ADDRESS);
  await field("The network again").selectOption("erc20");
  await page.getByText("This is not the network above.").waitFor();
  await field("The network again").selectOption("base");
  await button("Save the address").click();
  await page.getByText("This decides where money goes").waitFor();
  await look(page, "confirm");
  await field("Your password").fill(password);
  await button("Confirm").click();
  await page.getByText("Saved. A mail confirms it.").waitFor();
  await field("Network").selectOption("erc20");
  await field("Address").fill("0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359");
  await field("The network again").selectOption("erc20");
  await button("Save the address").click();
  await button("Cancel it for ERC20 · Ethereum (USDT)").click();
  await page.getByText("It will not count.").waitFor();
  await button("Turn on one-time codes").click();
  await page.getByRole("img", { name: "QR code with the secret for an authenticator app" }).waitFor();
  const secret = (await page.locator("form code").textContent()).replaceAll(" ", "");
  await field("The first code that the app shows").fill(readCode(secret));
  await button("Turn on").click();
  await page.getByText("One-time codes are asked for from now on.").waitFor();
  await page.getByRole("heading", { name: "API keys" }).click();
  await page.getByText("Make an API key").click();
  await field("Name").fill("lister");
  await button("Make the key").click();
  await page.getByText("This key is shown this once").waitFor();
  await page.getByRole("heading", { name: "Where this account is signed in" }).click();
  await page.getByText("This browser").waitFor();
  await look(page, "settings");
  await button("Sign out").first().click();
  await field("E-mail").fill(email);
  await field("Password").fill(password);
  await button("Sign in").click();
  // The code of this half minute was used: the next one counts already.
  await field("One-time code").fill(readCode(secret, 1));
  await look(page, "code");
  await button("Sign in").click();
  await page.getByText("Today (UTC)").waitFor();
  return { csv, storage: await readStorage(page) };
});
