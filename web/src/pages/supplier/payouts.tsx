/** What a supplier was paid: each settled day, with its transaction. */
import { orSignedOut } from "../../api/http.ts";
import { type Schemas, api } from "../../api/market.ts";
import { Figure, Hex, Notice, Table } from "../../app/parts.tsx";
import { usePages } from "../../app/pages.ts";
import { networkNames, payoutStates, payoutTexts as texts } from "../../text.ts";
import { Dollars, TxLink } from "../../app/money.tsx";
import { SignedIn } from "./signed-in.tsx";
import { MoreButton } from "../../app/more.tsx";

type Payout = Schemas["SupplierPayoutView"];

export function Payouts() {
  const pages = usePages("payouts", (cursor, signal) =>
    orSignedOut(api.get("/v1/supply/payouts", { signal, query: { limit: "100", cursor } })).then(
      (page) => page && { page, items: page.payouts, next: page.next_cursor },
    ),
  );
  return (
    <SignedIn of={pages.first}>
      {({ page: { totals, chain_id: chainId } }) => (
        <>
          <dl class="figures">
            <Figure name={texts.gross}><Dollars of={totals.gross} /></Figure>
            <Figure name={texts.fee}><Dollars of={totals.fee} /></Figure>
            <Figure name={texts.sent}><Dollars of={totals.sent} /></Figure>
            <Figure name={texts.underway}><Dollars of={totals.underway} /></Figure>
            <Figure name={texts.failed} hint={texts.failedHint}><Dollars of={totals.failed} /></Figure>
            <Figure name={texts.carried} hint={texts.carriedHint}><Dollars of={totals.carried} /></Figure>
          </dl>
          <div class="actions">
            <a class="button" href="/v1/supply/payouts.csv" download="payouts.csv">{texts.csv}</a>
          </div>
          {pages.items.length === 0 ? <Notice>{texts.none}</Notice> : <List payouts={pages.items} chainId={chainId} />}
          <MoreButton pages={pages} />
        </>
      )}
    </SignedIn>
  );
}

function List({ payouts, chainId }: { readonly payouts: readonly Payout[]; readonly chainId: number }) {
  return (
    <Table label={texts.list}>
      <thead>
        <tr>
          <th scope="col">{texts.day}</th>
          <th scope="col">{texts.status}</th>
          <th scope="col" class="number">{texts.gross}</th>
          <th scope="col" class="number">{texts.fee}</th>
          <th scope="col" class="number">{texts.net}</th>
          <th scope="col">{texts.to}</th>
          <th scope="col">{texts.tx}</th>
        </tr>
      </thead>
      <tbody>
        {payouts.map((one) => (
          <tr key={one.payout_id}>
            <th scope="row">{one.day}</th>
            <td>
              <span class={`tag ${payoutStates[one.status].tag}`}>{payoutStates[one.status].name}</span>
              <small>{one.reason ?? ""}</small>
            </td>
            <td class="number"><Dollars of={one.gross} /></td>
            <td class="number"><Dollars of={one.fee} /></td>
            <td class="number"><Dollars of={one.net} unit={one.asset} /></td>
            <td>
              {networkNames[one.network]}
              {one.address && (
                <small>
                  <Hex of={one.address} />
                </small>
              )}
            </td>
            <td><TxLink network={one.network} chainId={chainId} hash={one.tx_hash} /></td>
          </tr>
        ))}
      </tbody>
    </Table>
  );
}
