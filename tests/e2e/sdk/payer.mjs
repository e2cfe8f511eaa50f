// A buyer without a key: pays for each request with the official x402 client. Prints the answers.
//
//   node payer.mjs BASE_URL PRIVATE_KEY '[["/v1/chat/completions", {…}], ["/x402/…", null], …]'

import { decodePaymentResponseHeader, wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { ExactEvmScheme } from "@x402/evm";
import { privateKeyToAccount } from "viem/accounts";

const [baseURL, privateKey, requests] = process.argv.slice(2);
const client = new x402Client();
client.register("eip155:*", new ExactEvmScheme(privateKeyToAccount(privateKey)));
// The client knows no USDC on a local chain.
client.setSpendControls(false);
const pay = wrapFetchWithPayment(fetch, client);

for (const [path, body] of JSON.parse(requests)) {
  const answer = await pay(baseURL + path, {
    method: body === null ? "GET" : "POST",
    headers: body === null ? {} : { "content-type": "application/json" },
    body: body === null ? undefined : JSON.stringify(body),
  });
  const receipt = answer.headers.get("payment-response");
  console.log(
    JSON.stringify({
      status: answer.status,
      type: answer.headers.get("content-type"),
      credit_usdc: answer.headers.get("x-market-credit-usdc"),
      receipt: receipt && decodePaymentResponseHeader(receipt),
      text: await answer.text(),
    }),
  );
}
