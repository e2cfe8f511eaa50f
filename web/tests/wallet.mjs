/**
 * A wallet for tests: announced by EIP-6963 in the page, its keys here in Node.
 *
 * `behaviour` can be changed while a journey runs: each method may `refuse`, `hang`, be `unsupported`
 * or be answered by a function.
 */
import { createPublicClient, createWalletClient, http } from "viem";
import { privateKeyToAccount } from "viem/accounts";

const ICON = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'/%3E";

export class TestWallet {
  constructor({ rpcUrl, key, chainId, name = "Test wallet" }) {
    this.rpcUrl = rpcUrl;
    this.account = privateKeyToAccount(key);
    this.chainId = chainId;
    this.name = name;
    this.behaviour = {};
    this.asked = [];
    const chain = { id: chainId, name: "test", nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 }, rpcUrls: { default: { http: [rpcUrl] } } };
    this.client = createWalletClient({ account: this.account, chain, transport: http(rpcUrl) });
    this.node = createPublicClient({ chain, transport: http(rpcUrl), pollingInterval: 100 });
  }

  /** Announces the wallet on every page of a context. */
  async install(context) {
    const binding = `__wallet_${this.account.address}`;
    await context.exposeBinding(binding, (_source, method, params) => this.#answer(method, params));
    await context.addInitScript(
      ({ binding, name, icon }) => {
        const listeners = new Map();
        const provider = {
          async request({ method, params }) {
            const answer = await window[binding](method, params ?? []);
            if (answer.error) throw Object.assign(new Error(answer.error.message), { code: answer.error.code, data: answer.error.data });
            return answer.result;
          },
          on: (event, listener) => listeners.set(event, [...(listeners.get(event) ?? []), listener]),
          removeListener: (event, listener) =>
            listeners.set(event, (listeners.get(event) ?? []).filter((one) => one !== listener)),
        };
        window[`${binding}_emit`] = (event, value) => (listeners.get(event) ?? []).forEach((one) => one(value));
        const info = { uuid: crypto.randomUUID?.() ?? "1", name, icon, rdns: `test.${name.replace(/\W/g, "")}` };
        const announce = () =>
          window.dispatchEvent(new CustomEvent("eip6963:announceProvider", { detail: Object.freeze({ info, provider }) }));
        window.addEventListener("eip6963:requestProvider", announce);
        announce();
      },
      { binding, name: this.name, icon: ICON },
    );
    this.binding = binding;
  }

  /** Lets the page hear an event of the wallet. */
  emit(page, event, value) {
    return page.evaluate(([name, event, value]) => window[name](event, value), [`${this.binding}_emit`, event, value]);
  }

  async #answer(method, params) {
    this.asked.push(method);
    const how = this.behaviour[method];
    if (how === "refuse") return { error: { code: 4001, message: "User rejected the request." } };
    if (how === "unsupported") return { error: { code: 4200, message: "Unsupported method." } };
    if (how === "hang") return new Promise(() => {});
    try {
      const result = typeof how === "function" ? await how(params) : await this.#ask(method, params);
      return { result: result ?? null };
    } catch (error) {
      return { error: { code: error.code ?? -32603, message: error.details ?? error.message, data: error.data } };
    }
  }

  async #ask(method, params) {
    switch (method) {
      case "eth_requestAccounts":
      case "eth_accounts":
        return [this.account.address];
      case "eth_chainId":
        return `0x${this.chainId.toString(16)}`;
      case "wallet_switchEthereumChain":
        this.chainId = Number(params[0].chainId);
        return null;
      case "personal_sign":
        return this.account.signMessage({ message: { raw: params[0] } });
      case "eth_signTypedData_v4":
        return this.account.signTypedData(JSON.parse(params[1]));
      case "eth_sendTransaction": {
        const [{ to, data }] = params;
        const gas = (await this.node.estimateGas({ account: this.account, to, data })) * 5n / 4n;
        return this.client.sendTransaction({ to, data, gas });
      }
      default:
        if (method.startsWith("wallet_")) throw Object.assign(new Error("Unsupported method."), { code: 4200 });
        return this.node.request({ method, params });
    }
  }
}
