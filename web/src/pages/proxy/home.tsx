/** Home: what it is, what a deposit buys, and whether the books agree. Nothing to sign. */
import { PREFIX, type Overview, api } from "../../api/proxy.ts";
import { exact, formatCount, formatTime, formatUsdc } from "../../amounts.ts";
import { Notice, Shown, Table } from "../../app/parts.tsx";
import { useRemote } from "../../app/remote.ts";
import { home } from "../../text.ts";
import { Calculator } from "./calculator.tsx";

const LOOK_AGAIN_MS = 15_000;

export function Home() {
  const overview = useRemote("overview", (signal) => api.get("/api/current/overview", { signal }), LOOK_AGAIN_MS);
  const models = useRemote("models", (signal) => api.get(`${PREFIX}/models`, { signal }));
  return (
    <>
      <section class="hero">
        <h1>{home.title}</h1>
        {home.lines.map((line) => (
          <p key={line}>{line}</p>
        ))}
        <p class="actions">
          <a class="button main" href="/deposit">
            {home.begin}
          </a>
          <a class="button" href="/models">
            {home.look}
          </a>
        </p>
      </section>
      <section>
        <h2 id="calculator">{home.calculator}</h2>
        <Shown of={overview}>
          {(data) => <Shown of={models}>{(list) => <Calculator overview={data} models={list.models} />}</Shown>}
        </Shown>
      </section>
      <section>
        <h2 id="proof">{home.proof}</h2>
        <Shown of={overview}>{(data) => <Proof books={data.books} />}</Shown>
      </section>
      <section>
        <h2 id="risks">{home.risks}</h2>
        <ul>
          {home.riskLines.map((line) => (
            <li key={line}>{line}</li>
          ))}
        </ul>
      </section>
    </>
  );
}

function Proof({ books }: { readonly books: Overview["books"] }) {
  if (!books) return <Notice kind="warning">{home.proofUnknown}</Notice>;
  const rows: [string, string, string][] = [
    [home.proofPositions, formatCount(books.positions), formatCount(books.positions_on_chain)],
    [
      home.proofUnspent,
      `${formatUsdc(exact(books.unspent_usdc))} USDC`,
      `${formatUsdc(exact(books.unspent_on_chain_usdc))} USDC`,
    ],
    [home.proofHeld, home.proofEnough, `${formatUsdc(exact(books.contract_balance_usdc))} USDC`],
  ];
  return (
    <>
      <Notice kind={books.agrees ? "good" : "warning"}>
        <strong>{books.agrees ? home.proofYes : home.proofNo}</strong>
      </Notice>
      <Table label={home.proof}>
          <thead>
            <tr>
              <th scope="col"><span class="hidden">{home.proof}</span></th>
              <th scope="col" class="number">{home.proofOurs}</th>
              <th scope="col" class="number">{home.proofChain}</th>
            </tr>
          </thead>
          <tbody>
            {rows.map(([name, ours, chain]) => (
              <tr key={name}>
                <th scope="row">{name}</th>
                <td class="number">{ours}</td>
                <td class="number">{chain}</td>
              </tr>
            ))}
          </tbody>
        </Table>
      <p class="quiet">
        {home.proofBlock(formatCount(books.block_number), formatTime(books.compared_at_s))}
        {home.proofSelf}
      </p>
    </>
  );
}
