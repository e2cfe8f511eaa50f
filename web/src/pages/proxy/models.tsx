/** Models and try: the catalogue, and a chat that says what it costs. */
import { useMemo, useState } from "preact/hooks";
import { type Model, api } from "../../api/proxy.ts";
import { exact, formatCount, formatPrice, formatSpan } from "../../amounts.ts";
import { Field, Notice, Shown, Table } from "../../app/parts.tsx";
import { useRemote } from "../../app/remote.ts";
import { modelTexts as texts } from "../../text.ts";
import { Signed } from "../../wallet/signed.tsx";
import { Chat } from "./chat.tsx";

const SHOWN_AT_FIRST = 100;

type Column = "id" | "input" | "output" | "context";
const VALUES: Record<Column, (model: Model) => number | string | null> = {
  id: (model) => model.id,
  input: (model) => model.input_usdc_per_mtok,
  output: (model) => model.output_usdc_per_mtok,
  context: (model) => model.context_tokens,
};

/** Returns models by a column; what has no value comes last either way. */
export function sortModels(models: readonly Model[], column: Column, isDown: boolean): readonly Model[] {
  const sign = isDown ? -1 : 1;
  return [...models].sort((a, b) => {
    const [left, right] = [VALUES[column](a), VALUES[column](b)];
    if (left === null || right === null) return left === right ? 0 : left === null ? 1 : -1;
    return left < right ? -sign : left > right ? sign : 0;
  });
}

export function Models() {
  const list = useRemote("models", (signal) => api.get("/api/current/models", { signal }));
  return (
    <>
      <h1>{texts.title}</h1>
      <Shown of={list}>
        {({ models, fallback }) => (
          <>
            {fallback && <Notice kind="warning">{texts.fallback}</Notice>}
            <Catalogue models={models} />
            <section>
              <h2>{texts.tryIt}</h2>
              <Signed why={texts.why}>{(tokenId) => <Chat key={tokenId} tokenId={tokenId} models={models} />}</Signed>
            </section>
          </>
        )}
      </Shown>
    </>
  );
}

function Catalogue({ models }: { readonly models: readonly Model[] }) {
  const [wanted, setWanted] = useState("");
  const [order, setOrder] = useState<{ column: Column; isDown: boolean }>({ column: "id", isDown: false });
  const [shown, setShown] = useState(SHOWN_AT_FIRST);
  const found = useMemo(() => {
    const word = wanted.trim().toLowerCase();
    return sortModels(models.filter((model) => model.id.toLowerCase().includes(word)), order.column, order.isDown);
  }, [models, wanted, order]);
  const head = (column: Column, name: string) => (
    <th
      scope="col"
      class={column === "id" ? "" : "number"}
      aria-sort={order.column === column ? (order.isDown ? "descending" : "ascending") : "none"}
    >
      <button
        type="button"
        class="sort"
        onClick={() => setOrder({ column, isDown: order.column === column && !order.isDown })}
      >
        {name}
      </button>
    </th>
  );
  return (
    <>
      <Field label={texts.search}>
        {(ids) => <input {...ids} type="search" value={wanted} onInput={(event) => setWanted(event.currentTarget.value)} />}
      </Field>
      <p class="quiet" aria-live="polite">
        {texts.count(formatCount(found.length), formatCount(models.length))}
      </p>
      <Table label={texts.title}>
        <thead>
          <tr>
            {head("id", texts.model)}
            {head("input", texts.input)}
            {head("output", texts.output)}
            {head("context", texts.context)}
            <th scope="col">{texts.source}</th>
          </tr>
        </thead>
        <tbody>
          {found.slice(0, shown).map((model) => (
            <tr key={model.id}>
              <th scope="row">{model.id}</th>
              <td class="number">{priceText(model.input_usdc_per_mtok)}</td>
              <td class="number">{priceText(model.output_usdc_per_mtok)}</td>
              <td class="number">{model.context_tokens === null ? "" : formatCount(model.context_tokens)}</td>
              <td>
                {model.price_source ?? texts.noPrice}
                {model.price_age_s === null ? "" : ` (${formatSpan(model.price_age_s)})`}
              </td>
            </tr>
          ))}
        </tbody>
      </Table>
      {found.length > shown && (
        <button type="button" onClick={() => setShown(found.length)}>
          {texts.all(formatCount(found.length))}
        </button>
      )}
    </>
  );
}

function priceText(price: number | null): string {
  return price === null ? "" : formatPrice(exact(price));
}
