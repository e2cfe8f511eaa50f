/** What a supplier sold, by day, offer and bid: all days since one that is chosen. */
import { useState } from "preact/hooks";
import { fillPath, orSignedOut } from "../../api/http.ts";
import { type Schemas, api } from "../../api/market.ts";
import { formatCount, shorten } from "../../amounts.ts";
import { Plot } from "../../charts/plot.tsx";
import { TextField } from "../../app/fields.tsx";
import { Notice, Table } from "../../app/parts.tsx";
import { usePages } from "../../app/pages.ts";
import { supplyUsageTexts as texts } from "../../text.ts";
import { Sums } from "./dashboard.tsx";
import { showDecimal } from "../../app/money.tsx";
import { MoreButton } from "../../app/more.tsx";
import { SignedIn } from "./signed-in.tsx";

type Line = Schemas["UsageLine"];

const DAY_MS = 86_400_000;

/** Returns the UTC day that was so many days ago: `2026-03-31`. */
export function dayBefore(nowMs: number, days: number): string {
  return new Date(nowMs - days * DAY_MS).toISOString().slice(0, 10);
}

/** Returns the tokens of each day, for the plot. */
export function tokensByDay(lines: readonly Line[]): { at: number; value: number }[] {
  const days = new Map<string, number>();
  for (const line of lines) days.set(line.day, (days.get(line.day) ?? 0) + line.input_tokens + line.output_tokens);
  return [...days].map(([day, value]) => ({ at: Date.parse(`${day}T00:00:00Z`) / 1_000, value }));
}

export function SupplierUsage() {
  const [from, setFrom] = useState(() => dayBefore(Date.now(), 29));
  const query = /^\d{4}-\d\d-\d\d$/.test(from) ? { from_day: from } : {};
  const pages = usePages(`usage ${from}`, (cursor, signal) =>
    orSignedOut(api.get("/v1/supply/usage", { signal, query: { ...query, limit: "1000", cursor } })).then(
      (page) => page && { page, items: page.usage, next: page.next_cursor },
    ),
  );
  return (
    <SignedIn of={pages.first}>
      {({ page: { totals } }) => (
        <>
          <div class="actions">
            <TextField label={texts.from} hint={texts.fromHint} type="date" value={from} onChange={setFrom} />
            <a class="button" href={fillPath("/v1/supply/usage.csv", { query })} download="usage.csv">{texts.csv}</a>
          </div>
          <Sums title={texts.sums} sums={totals} />
          {pages.items.length === 0 ? (
            <Notice>{texts.none}</Notice>
          ) : (
            <>
              <h2>{texts.plot}</h2>
              <Plot label={texts.plot} series={[{ name: texts.tokens, points: tokensByDay(pages.items), bars: true }]} />
              <Lines lines={pages.items} />
            </>
          )}
          <MoreButton pages={pages} />
        </>
      )}
    </SignedIn>
  );
}

function Lines({ lines }: { readonly lines: readonly Line[] }) {
  return (
    <Table label={texts.list}>
      <thead>
        <tr>
          <th scope="col">{texts.day}</th>
          <th scope="col">{texts.offer}</th>
          <th scope="col" class="number">{texts.bid}</th>
          <th scope="col" class="number">{texts.requests}</th>
          <th scope="col" class="number">{texts.input}</th>
          <th scope="col" class="number">{texts.output}</th>
          <th scope="col">{texts.settled}</th>
        </tr>
      </thead>
      <tbody>
        {lines.map((line) => (
          <tr key={`${line.day} ${line.offer_id} ${line.bid_price_per_1m_usdt}`}>
            <th scope="row">{line.day}</th>
            <td><code title={line.offer_id}>{shorten(line.offer_id)}</code></td>
            <td class="number">{showDecimal(line.bid_price_per_1m_usdt)}</td>
            <td class="number">{formatCount(line.requests)}</td>
            <td class="number">{formatCount(line.input_tokens)}</td>
            <td class="number">{formatCount(line.output_tokens)}</td>
            <td>{line.payout_id === null ? texts.notYet : texts.yes}</td>
          </tr>
        ))}
      </tbody>
    </Table>
  );
}
