/**
 * Signs in on the proxy with a wallet that is on another chain and does not know ours.
 *
 *     node web/tests/unknown-chain.mjs '{"origin": …, "key": …, "folder": null}'
 */
import { beginJourney } from "./journey.mjs";
import { TestWallet } from "./wallet.mjs";

const wish = JSON.parse(process.argv[2]);
const { visit, look, walk } = await beginJourney(wish);
const wallet = new TestWallet({ rpcUrl: "http://127.0.0.1:9", key: wish.key, chainId: 1 });
const added = [];
wallet.behaviour["wallet_switchEthereumChain"] = ([{ chainId }]) => {
  if (!added.some((one) => one.chainId === chainId)) throw Object.assign(new Error("Unrecognized chain ID"), { code: 4902 });
  wallet.chainId = Number(chainId);
};
wallet.behaviour["wallet_addEthereumChain"] = ([chain]) => void added.push(chain);

await walk(async () => {
  const { page, button } = await visit((context) => wallet.install(context));
  await page.goto(`${wish.origin}/keys`);
  await button("Connect a wallet").last().click();
  await page.getByRole("button", { name: "Test wallet" }).click();
  await button("Sign in with the wallet").click();
  await page.getByText("This wallet has no position yet.").waitFor();
  await look(page, "signed-in");
  return { added };
});
