/** What a seller earned, with the transaction that paid it, and what its offers failed. */
import { type Schemas, api } from "../../api/market.ts";
import { exact, formatCount, formatTime, formatUsdc } from "../../amounts.ts";
import { CsvButton } from "../../app/download.tsx";
import { TxLink } from "../../app/money.tsx";
import { MoreButton } from "../../app/more.tsx";
import { Figure, Shown, Table, Usdc } from "../../app/parts.tsx";
import { usePages } from "../../app/pages.ts";
import { useRemote } from "../../app/remote.ts";
import { causeNames, wordFor, sellTexts as texts } from "../../text.ts";

type Earning = Schemas["Earning"];

export function Earnings() {
  const pages = usePages("earnings", async (cursor, signal) => {
    const page = await api.get("/v1/seller/earnings", { signal, query: { limit: "100", cursor } });
    return { page, items: page.earnings, next: page.next_cursor };
  });
  return (
    <section>
      <h2>{texts.earnings}</h2>
      <Shown of={pages.first}>
        {(part) => {
          if (part === null) return null;
          const { totals, chain_id: chainId } = part.page;
          return (
            <>
              <dl class="figures">
                <Figure name={texts.requests}>{formatCount(totals.requests)}</Figure>
                {totals.api_calls > 0 && <Figure name={texts.apiCalls}>{formatCount(totals.api_calls)}</Figure>}
                <Figure name={texts.earned} hint={texts.earnedHint}><Usdc of={exact(totals.earning_usdc)} /></Figure>
                <Figure name={texts.fee}><Usdc of={exact(totals.fee_usdc)} /></Figure>
                <Figure name={texts.unpaid} hint={texts.unpaidHint}><Usdc of={exact(totals.unpaid_usdc)} /></Figure>
                {totals.unvested_usdc > 0 && (
                  <Figure name={texts.unvested} hint={texts.unvestedHint}><Usdc of={exact(totals.unvested_usdc)} /></Figure>
                )}
                {totals.refunded_usdc > 0 && (
                  <Figure name={texts.refunded}><Usdc of={exact(totals.refunded_usdc)} /></Figure>
                )}
              </dl>
              <div class="actions">
                <CsvButton name="earnings.csv" label={texts.csv} list="/v1/seller/earnings" csv="/v1/seller/earnings.csv" />
                <CsvButton name="health-log.csv" label={texts.healthCsv} list="/v1/seller/health-log" csv="/v1/seller/health-log.csv" />
              </div>
              {pages.items.length > 0 && <Sales earnings={pages.items} chainId={chainId} />}
              <MoreButton pages={pages} />
            </>
          );
        }}
      </Shown>
    </section>
  );
}

function Sales({ earnings, chainId }: { readonly earnings: readonly Earning[]; readonly chainId: number }) {
  return (
    <Table label={texts.earnings}>
      <thead>
        <tr>
          <th scope="col">{texts.when}</th>
          <th scope="col">{texts.sold}</th>
          <th scope="col" class="number">{texts.earned}</th>
          <th scope="col">{texts.payout}</th>
          <th scope="col">{texts.tx}</th>
        </tr>
      </thead>
      <tbody>
        {earnings.map((one) => (
          <tr key={one.sale_id}>
            <td>{formatTime(one.resolved_at_s)}</td>
            <th scope="row">
              {one.model ?? one.connection} {one.operation !== null && <small>{one.operation}</small>}
            </th>
            <td class="number">{formatUsdc(exact(one.earning_usdc))}</td>
            <td>{texts.payoutStates[one.payout_state]}</td>
            <td><TxLink network="base" chainId={chainId} hash={one.payout_tx_hash ?? null} /></td>
          </tr>
        ))}
      </tbody>
    </Table>
  );
}

/** What the offers failed, oldest first; who was asked and for what is not in it. */
export function Failures() {
  const log = useRemote("health", (signal) => api.get("/v1/seller/health-log", { signal, query: { limit: "50" } }));
  return (
    <section>
      <h2>{texts.failures}</h2>
      <Shown of={log}>
        {({ failures }) =>
          failures.length === 0 ? (
            <p class="quiet">{texts.noFailures}</p>
          ) : (
            <Table label={texts.failures}>
              <thead>
                <tr>
                  <th scope="col">{texts.when}</th>
                  <th scope="col">{texts.model}</th>
                  <th scope="col">{texts.cause}</th>
                </tr>
              </thead>
              <tbody>
                {failures.map((one) => (
                  <tr key={one.sale_id}>
                    <td>{formatTime(one.resolved_at_s)}</td>
                    <th scope="row">{one.model}</th>
                    <td>{wordFor(causeNames, one.cause)}</td>
                  </tr>
                ))}
              </tbody>
            </Table>
          )
        }
      </Shown>
    </section>
  );
}
