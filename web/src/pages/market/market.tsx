/** Market: each model's offers and best price beside its reference. */
import { useMemo, useState } from "preact/hooks";
import { type Schemas, api } from "../../api/market.ts";
import { formatCount } from "../../amounts.ts";
import { Dollars } from "../../app/money.tsx";
import { Field, Notice, Shown, Table } from "../../app/parts.tsx";
import { useRemote } from "../../app/remote.ts";
import { marketTexts as texts, standingNames } from "../../text.ts";

type Summary = Schemas["MarketSummary"];
const SHOWN_AT_FIRST = 100;
const LOOK_AGAIN_MS = 15_000;

export function Market() {
  const list = useRemote("markets", (signal) => api.get("/api/markets", { signal }), LOOK_AGAIN_MS);
  return (
    <>
      <h1>{texts.title}</h1>
      <p>{texts.lead}</p>
      <Shown of={list}>
        {({ markets }) => (markets.length === 0 ? <Notice>{texts.empty}</Notice> : <Models markets={markets} />)}
      </Shown>
    </>
  );
}

function Models({ markets }: { readonly markets: readonly Summary[] }) {
  const [wanted, setWanted] = useState("");
  const [isAll, setAll] = useState(false);
  const [open, setOpen] = useState<string | null>(null);
  const found = useMemo(() => {
    const word = wanted.trim().toLowerCase();
    return markets.filter((one) => one.model.toLowerCase().includes(word));
  }, [markets, wanted]);
  return (
    <>
      <Field label={texts.search}>
        {(ids) => <input {...ids} type="search" value={wanted} onInput={(event) => setWanted(event.currentTarget.value)} />}
      </Field>
      <p class="quiet" aria-live="polite">
        {texts.count(formatCount(found.length), formatCount(markets.length))}
      </p>
      <Table label={texts.title}>
        <thead>
          <tr>
            <th scope="col">{texts.model}</th>
            <th scope="col" class="number">{texts.reference}</th>
            <th scope="col" class="number">{texts.best}</th>
            <th scope="col" class="number">{texts.discount}</th>
            <th scope="col" class="number">{texts.offers}</th>
            <th scope="col"><span class="hidden">{texts.book}</span></th>
          </tr>
        </thead>
        <tbody>
          {found.slice(0, isAll ? undefined : SHOWN_AT_FIRST).map((one) => (
            <tr key={one.model}>
              <th scope="row">{one.model}</th>
              <td class="number">{pairOf(one.reference)}</td>
              <td class="number">{pairOf(one.best)}</td>
              <td class="number">{one.best_discount_pct === null ? "" : `${one.best_discount_pct} %`}</td>
              <td class="number">{texts.serviceable(formatCount(one.serviceable_offers), formatCount(one.offers))}</td>
              <td>
                <button
                  type="button"
                  class="small"
                  aria-expanded={open === one.model}
                  onClick={() => setOpen(open === one.model ? null : one.model)}
                >
                  {texts.bookOf(one.model)}
                </button>
              </td>
            </tr>
          ))}
        </tbody>
      </Table>
      {!isAll && found.length > SHOWN_AT_FIRST && (
        <button type="button" onClick={() => setAll(true)}>
          {texts.all(formatCount(found.length))}
        </button>
      )}
      {open !== null && <Book key={open} model={open} />}
    </>
  );
}

interface Prices {
  readonly price_input_per_1m?: string | number | null;
  readonly price_output_per_1m?: string | number | null;
  readonly price_per_unit?: string | number | null;
  readonly unit?: string | null;
}

/** Returns question's and answer's price a million tokens, or a unit's, in dollars. */
export function pairOf(prices: Prices | null | undefined): string {
  if (!prices) return "";
  const { price_input_per_1m: input, price_output_per_1m: output, price_per_unit: one, unit } = prices;
  if (input != null && output != null) return `$${input} + $${output}`;
  return one != null ? `$${one} / ${unit ?? ""}` : "";
}

function Book({ model }: { readonly model: string }) {
  const book = useRemote(`book ${model}`, (signal) => api.get("/api/markets/{model}", { signal, path: { model } }), LOOK_AGAIN_MS);
  return (
    <section aria-live="polite">
      <h2>{texts.bookTitle(model)}</h2>
      <p>
        <a href={`/evidence?${new URLSearchParams({ model })}`}>{texts.evidenceOf}</a>
      </p>
      <Shown of={book}>
        {({ offers, next_cursor: next }) => (
          <>
            {next !== null && <p class="quiet">{texts.firstOffers(formatCount(offers.length))}</p>}
            <Table label={texts.bookTitle(model)}>
              <thead>
                <tr>
                  <th scope="col">{texts.seller}</th>
                  <th scope="col" class="number">{texts.price}</th>
                  <th scope="col" class="number">{texts.discount}</th>
                  <th scope="col">{texts.health}</th>
                  <th scope="col" class="number">{texts.left}</th>
                </tr>
              </thead>
              <tbody>
                {offers.map((offer) => (
                  <tr key={offer.offer_id}>
                    <th scope="row">
                      {offer.provider} {offer.label && <small>{offer.label}</small>}
                    </th>
                    <td class="number">{pairOf(offer)}</td>
                    <td class="number">{offer.discount_pct === null ? "" : `${offer.discount_pct} %`}</td>
                    <td>
                      <span class={offer.serviceable ? "tag good" : "tag warning"}>
                        {offer.serviceable ? texts.serving : standingNames[offer.health]}
                      </span>{" "}
                      {offer.trusted && <span class="tag">{texts.trusted}</span>}
                    </td>
                    <td class="number">{offer.left_today_usd === null ? texts.noCap : <Dollars of={String(offer.left_today_usd)} />}</td>
                  </tr>
                ))}
              </tbody>
            </Table>
          </>
        )}
      </Shown>
    </section>
  );
}
