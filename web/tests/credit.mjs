/**
 * A wallet that has paid by x402: looks at its credit and has it paid back, though an answer is lost.
 *
 *     node web/tests/credit.mjs '{"origin": …, "key": …, "other": …, "folder": null}'
 */
import { beginJourney, readStorage } from "./journey.mjs";
import { TestWallet } from "./wallet.mjs";

const wish = JSON.parse(process.argv[2]);
const { origin, key, other } = wish;
const { visit, look, walk } = await beginJourney(wish);
const wallet = new TestWallet({ rpcUrl: "http://127.0.0.1:9", key, chainId: 31337 });
const stranger = new TestWallet({ rpcUrl: "http://127.0.0.1:9", key: other, chainId: 31337 });

await walk(async () => {
  const { page, button, field } = await visit((context) => wallet.install(context));
  await page.goto(`${origin}/credit`);
  await page.getByText("To see or withdraw your credit").waitFor();
  await look(page, "credit-no-wallet");
  await button("Connect a wallet").last().click();
  await page.getByRole("button", { name: "Test wallet" }).click();
  await button("Sign in with the wallet").click();
  await page.getByText("Empty: all of it, 2.50 USDC.").waitFor();
  const all = await page.getByText("2.499 USDC reach your wallet").count();
  for (const [typed, said] of [
    ["3", "No more than 2.50 USDC can be withdrawn now."],
    ["0.001", "The least that is withdrawn is 0.011 USDC"],
    ["1,5", "Write the amount with digits and a point"],
  ]) {
    await field("Amount, USDC").fill(typed);
    await page.getByText(said).waitFor();
    if (await button("Sign and withdraw").isEnabled()) throw new Error(`${typed} can be signed`);
  }
  await field("Amount, USDC").fill("0.75");
  await page.getByText("0.749 USDC reach your wallet").waitFor();
  await look(page, "credit");

  // Whoever signs is paid: another account is not asked to.
  wallet.behaviour = { eth_accounts: () => [stranger.account.address] };
  await button("Sign and withdraw").click();
  await page.getByText("on another account").waitFor();
  wallet.behaviour = { personal_sign: "refuse" };
  await button("Sign and withdraw").click();
  await page.getByText("on another account").waitFor({ state: "detached" });
  await page.getByRole("alert").waitFor();
  wallet.behaviour = {};

  // The market has taken it, and its answer is lost: the same signature goes once more.
  const path = `${origin}/v1/buyer/withdrawals`;
  await page.route(path, async (route) => {
    if (route.request().method() !== "POST") return route.continue();
    await route.fetch();
    return route.abort();
  });
  await field("Amount, USDC").focus();
  await page.keyboard.press("Enter");
  await button("Send it again").waitFor();
  await look(page, "credit-lost");
  await page.unroute(path);
  await button("Send it again").click();
  await page.getByText("It is on its way").waitFor();
  await page.getByRole("cell", { name: "waits for the next batch" }).waitFor();
  await page.getByText("Empty: all of it, 1.75 USDC.").waitFor();
  const rows = await page.getByRole("region", { name: "Withdrawals" }).getByRole("row").count();
  await page.getByText("Payments").click();
  await page.getByText("settled").waitFor();
  await look(page, "credit-done");
  await page.getByText("Where you are signed in").click();
  await button("Sign out").click();
  await button("Sign in with the wallet").waitFor();
  return { all, rows, storage: await readStorage(page), asked: wallet.asked };
});
