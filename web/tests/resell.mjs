/**
 * The owner of an API connects it by its OpenAPI document, and sells its unused quota.
 *
 *     node web/tests/resell.mjs '{"origin": …, "key": …, "api": …, "apiKey": …, "openapi": …, "folder": null}'
 */
import { beginJourney, readStorage } from "./journey.mjs";
import { TestWallet } from "./wallet.mjs";

const wish = JSON.parse(process.argv[2]);
const { origin, key, api, apiKey, openapi } = wish;
const { visit, look, walk } = await beginJourney(wish);
const wallet = new TestWallet({ rpcUrl: "http://127.0.0.1:9", key, chainId: 31337 });

await walk(async () => {
  const { page, button, field } = await visit((context) => wallet.install(context));
  page.on("dialog", (dialog) => void dialog.accept());
  await page.goto(`${origin}/resell`);
  await page.getByText("To resell, connect the wallet").waitFor();
  await look(page, "resell-no-wallet");
  await button("Connect a wallet").last().click();
  await page.getByRole("button", { name: "Test wallet" }).click();
  await button("Sign in with the wallet").click();
  await page.getByText("You have connected no API yet.").waitFor();

  // The reference's example comes out: 5,000 sold at 0.15.
  await field("Buffer, percent").fill("0");
  const chosen = page.getByRole("row").filter({ hasText: "yours" });
  const example = await chosen.innerText();
  await field("Buffer, percent").fill("2");
  await field("Name").fill("chainstats");
  await field("The key is sent as").selectOption("header");
  await field("Name of the header or parameter").fill("x-api-key");
  await field("API key").fill(apiKey);
  await page.getByLabel("OpenAPI document (3.0 or 3.1, JSON)").setInputFiles(openapi);
  await page.getByText("3 of 5 operations are sold").waitFor();
  await field("Base URL").fill(api);
  await page.getByRole("checkbox", { name: /POST \/v1\/balances\/search/ }).check();
  await page.getByRole("checkbox", { name: /GET \/v1\/secrets/ }).uncheck();
  await field("Markup").fill("2.5x");
  await look(page, "resell-form");
  await button("Go live").click();
  await page.getByText("chainstats is connected and on sale.").waitFor();
  await button("Test").click();
  await page.getByText(/^GET \/v1\/blocks\/latest answered in \d+ ms/).waitFor();
  await button("Status").click();
  await page.getByText("days are left.").waitFor();
  await page.getByText("What may be called").last().click();
  await look(page, "resell-status");
  await field("New price of a call, US dollars").fill("0.2");
  await button("Change").click();
  await page.getByText("0.20 USDC").first().waitFor();
  await button("Disable").click();
  await button("Enable").waitFor();
  await button("Enable").click();
  await button("Disable").waitFor();
  const sold = await page.locator("li > code").allInnerTexts();
  await button("Delete").click();
  await page.getByText("You have connected no API yet.").waitFor();

  // The same API by the file that the command line takes.
  await page.getByText("Connect APIs by a file (YAML)").click();
  const lines = [
    "api_connections:",
    "  - name: by-file",
    `    base_url: ${api}`,
    `    api_key: "${apiKey}"`,
    '    credential: "header: x-api-key"',
    "    operations: [GET /v1/blocks/latest]",
    "    monthly_quota: 1000",
    "    reserved: 100  # mine",
  ];
  await page.getByLabel("Choose a file").setInputFiles({ name: "apis.yaml", mimeType: "text/yaml", buffer: Buffer.from(lines.join("\n")) });
  await button("Put on sale: by-file").waitFor();
  await look(page, "resell-file");
  await button("Put on sale: by-file").click();
  await page.getByText("by-file is connected and on sale.").waitFor();
  await page.getByRole("heading", { name: "by-file" }).waitFor();
  const written = await field("Or write it here").inputValue();
  await button("Status").click();
  await page.getByText("and 20 kept back").waitFor();
  return { example, sold, written, storage: await readStorage(page) };
});
