/** What the terms of a connection come to, as they are typed: at this markup, and at those beside it. */
import { formatCount, formatUnits, formatUsdc } from "../../amounts.ts";
import { Notice, Table } from "../../app/parts.tsx";
import { resellTexts as texts } from "../../text.ts";
import { type Form, readMarkup, toPlan } from "./connection-form.ts";
import { reckon } from "./economics.ts";

const BESIDE = ["2", "3", "4"];

export function EconomicsTable({ form }: { readonly form: Form }) {
  const own = toPlan(form);
  if (own === null) return <p class="quiet">{texts.tableNeeds}</p>;
  const markups = [...new Set([...BESIDE, form.markup.trim().replace(/x$/i, "")])].sort((one, other) =>
    (readMarkup(one) ?? 0n) < (readMarkup(other) ?? 0n) ? -1 : 1,
  );
  const outcome = reckon(own);
  return (
    <>
      <p role="status">{texts.forSale(formatCount(outcome.forSale), formatCount(outcome.sold))}</p>
      {own.reserved === 0n && own.bufferPct === 0n && <Notice kind="warning">{texts.allForSale}</Notice>}
      {own.guess > outcome.forSale && <Notice kind="warning">{texts.guessTooMuch}</Notice>}
      <Table label={texts.economics}>
        <thead>
          <tr>
            <th scope="col">{texts.markup}</th>
            <th scope="col" class="number">{texts.consumerPays}</th>
            <th scope="col" class="number">{texts.revenue}</th>
            <th scope="col" class="number">{texts.fee}</th>
            <th scope="col" class="number">{texts.share}</th>
            <th scope="col" class="number">{texts.subscription}</th>
            <th scope="col" class="number">{texts.net}</th>
          </tr>
        </thead>
        <tbody>
          {markups.map((markup) => {
            const plan = toPlan(form, markup);
            if (plan === null) return null;
            const row = reckon(plan);
            const isChosen = plan.markupPpm === own.markupPpm;
            return (
              <tr key={markup} class={isChosen ? "chosen" : ""}>
                <th scope="row">
                  {formatUnits(plan.markupPpm, 6)}x {isChosen && <span class="tag">{texts.chosen}</span>}
                </th>
                <td class="number">{formatUsdc(row.priceUsdc)}</td>
                <td class="number">{formatUsdc(row.revenueUsdc)}</td>
                <td class="number">{formatUsdc(row.feeUsdc)}</td>
                <td class="number">{formatUsdc(row.shareUsdc)}</td>
                <td class="number">{formatUsdc(-plan.subscriptionUsdc)}</td>
                <td class="number">
                  <strong class={row.netUsdc < 0n ? "loss" : "gain"}>
                    {row.netUsdc > 0n && "+"}
                    {formatUsdc(row.netUsdc)}
                  </strong>
                </td>
              </tr>
            );
          })}
        </tbody>
      </Table>
    </>
  );
}
