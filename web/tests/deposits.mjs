/**
 * Deposits by wallets of every kind, the dishonest too: each is a visitor of its own in one browser.
 *
 *     node web/tests/deposits.mjs '{"origin": …, "rpcUrl": …, "keys": {"plain": …}, "safe": …, "members": […], "multicall3": …}'
 *
 * Prints, for each: the position where there is one, what its page said, and what its wallet was asked.
 */
import { BatchWallet, SafeWallet } from "./contract-wallets.mjs";
import { beginJourney } from "./journey.mjs";
import { TestWallet } from "./wallet.mjs";

const wish = JSON.parse(process.argv[2]);
const { origin, rpcUrl, keys, chainId = 31337 } = wish;
const { visit, look, walk } = await beginJourney(wish);
const PERSON = /^(eth_sendTransaction|eth_signTypedData_v4|personal_sign|wallet_sendCalls|wallet_switchEthereumChain)$/;
const make = (key, Kind = TestWallet, more = {}) => new Kind({ rpcUrl, key, chainId, ...more });

/** Opens the deposit page with wallets, connects the first, and fills the form in. */
async function come(...wallets) {
  const visitor = await visit(async (context) => {
    for (const wallet of wallets) await wallet.install(context);
  });
  await visitor.page.goto(`${origin}/deposit`);
  await visitor.button("Connect a wallet").last().click();
  await choose(visitor, wallets[0].name);
  await fillIn(visitor);
  return visitor;
}

/** Connects a wallet; what is typed while the question is open would be lost. */
async function choose({ page, button }, name) {
  await button(name).click();
  await page.getByRole("dialog").waitFor({ state: "detached" });
}

async function fillIn({ page, field }) {
  await field("Amount, in USDC").fill("100");
  await page.getByRole("checkbox").check();
}

/** Waits for the position's page; returns what is to be compared. */
async function arrive({ page }, wallet) {
  await page.getByRole("heading", { name: /^Position \d+$/ }).waitFor();
  return { tokenId: Number(page.url().split("/").pop()), asked: wallet.asked.filter((method) => PERSON.test(method)) };
}

/** Clicks on a deposit and waits for a sentence; returns what is to be compared. */
async function stop(visitor, wallet, sentence) {
  await visitor.button("Deposit").click();
  await visitor.page.getByText(sentence).waitFor();
  return { asked: wallet.asked.filter((method) => PERSON.test(method)) };
}

const visitors = {
  async plain() {
    const wallet = make(keys.plain);
    const visitor = await come(wallet);
    await visitor.button("Deposit").click();
    return arrive(visitor, wallet);
  },

  async adds() {
    const wallet = make(keys.plain);
    const visitor = await come(wallet);
    await visitor.page.goto(`${origin}/deposit?to=${wish.added}`);
    await fillIn(visitor);
    await visitor.button("Deposit").click();
    return arrive(visitor, wallet);
  },

  /** Its owner has no ether: it signs, the page is loaded again, another wallet sends. */
  async entrusts() {
    const wallet = make(keys.etherless, TestWallet, { name: "Without ether" });
    const payer = make(keys.payer, TestWallet, { name: "With ether" });
    const visitor = await come(wallet, payer);
    const { page, button } = visitor;
    await page.getByText("Your wallet has no ether?").click();
    await button("Sign only, send with another wallet").click();
    await page.getByRole("heading", { name: "A signed deposit, not sent yet" }).waitFor();
    await look(page, "signed");
    await page.reload();
    await page.getByRole("heading", { name: "A signed deposit, not sent yet" }).waitFor();
    await button(`Without ether ${wallet.account.address.slice(0, 6)}…${wallet.account.address.slice(-4)}`).click();
    await choose(visitor, "With ether");
    await button("Send it with the connected wallet").click();
    return { ...(await arrive(visitor, wallet)), paid: payer.asked.filter((method) => PERSON.test(method)) };
  },

  /** It cannot sign typed data: it approves without being told to. */
  async approves() {
    const wallet = make(keys.approves);
    wallet.behaviour["eth_signTypedData_v4"] = "unsupported";
    const visitor = await come(wallet);
    await visitor.button("Deposit").click();
    return arrive(visitor, wallet);
  },

  async batches() {
    const wallet = make(keys.batches, BatchWallet, { multicall3: wish.multicall3 });
    const visitor = await come(wallet);
    await visitor.button("Deposit").click();
    return arrive(visitor, wallet);
  },

  /** It says that it batches, and cannot when it is asked. */
  async boasts() {
    const wallet = make(keys.boasts, BatchWallet, { multicall3: wish.multicall3 });
    wallet.behaviour["wallet_sendCalls"] = "unsupported";
    const visitor = await come(wallet);
    await visitor.button("Deposit").click();
    return arrive(visitor, wallet);
  },

  /** Two of its owners confirm each step; the page is left in between. */
  async safe() {
    const wallet = make(keys.payer, SafeWallet, { safe: wish.safe, members: wish.members });
    const visitor = await come(wallet);
    const { page, button } = visitor;
    await button("Deposit").click();
    await page.getByText(/^Approve this amount of USDC, once: proposed\./).waitFor();
    await look(page, "proposed");
    await page.reload();
    await page.getByText("Still on its way:").waitFor();
    await wallet.confirm();
    await page.getByText("Still on its way:").waitFor({ state: "detached" });
    await fillIn(visitor);
    await button("Deposit").click();
    await page.getByText(/^Deposit: proposed\./).waitFor();
    await wallet.confirm();
    const arrived = await arrive(visitor, wallet);
    await page.goto(`${origin}/keys`);
    await button("Sign in with the wallet").click();
    await page.getByText("This wallet has no position yet.").waitFor();
    return arrived;
  },

  /** It is moved to another chain behind the page's back. */
  async switches() {
    const wallet = make(keys.switches);
    const visitor = await come(wallet);
    wallet.chainId = 1;
    await visitor.button("Deposit").click();
    return arrive(visitor, wallet);
  },

  async refuses() {
    const wallet = make(keys.tries);
    wallet.behaviour["eth_signTypedData_v4"] = "refuse";
    return stop(await come(wallet), wallet, "You declined it in the wallet. Nothing was sent.");
  },

  /** Its prompt never comes: the visitor gives up, and tries it in two steps. */
  async hangs() {
    const wallet = make(keys.hangs);
    wallet.behaviour["eth_signTypedData_v4"] = "hang";
    const visitor = await come(wallet);
    await stop(visitor, wallet, "Sign the permission for exactly this amount (it costs nothing): confirm it in your wallet.");
    await visitor.button("Give up").click();
    await visitor.button("Deposit in two steps").click();
    return arrive(visitor, wallet);
  },

  /** It names our chain and asks the node of another. */
  async elsewhere() {
    const wallet = make(keys.tries);
    wallet.behaviour["eth_getCode"] = () => "0x";
    return stop(await come(wallet), wallet, /our contracts do not stand/);
  },

  /** It signs for more than it was asked. */
  async signsOther() {
    const wallet = make(keys.tries);
    wallet.behaviour["eth_signTypedData_v4"] = ([, text]) => {
      const typed = JSON.parse(text);
      typed.message.value = "999999999";
      return wallet.account.signTypedData(typed);
    };
    return stop(await come(wallet), wallet, /What was signed is not what is sent/);
  },

  /** It sends something else, and names that as the deposit. */
  async sendsOther() {
    const wallet = make(keys.tries);
    wallet.behaviour["eth_sendTransaction"] = () => wallet.client.sendTransaction({ to: wallet.account.address, value: 1n });
    return stop(await come(wallet), wallet, /no deposit as agreed is in it/);
  },

  /** It names a transaction that is nowhere: the visitor stops waiting. */
  async sendsNothing() {
    const wallet = make(keys.tries);
    wallet.behaviour["eth_sendTransaction"] = () => `0x${"ab".repeat(32)}`;
    const visitor = await come(wallet);
    const stopped = await stop(visitor, wallet, /the wallet says it is sent, but the chain does not show it yet/);
    await visitor.button("Stop waiting").click();
    await visitor.button("Deposit").waitFor();
    return stopped;
  },
};

await walk(async () => {
  const outcomes = {};
  for (const name of wish.visitors) outcomes[name] = await visitors[name]();
  return { outcomes };
});
