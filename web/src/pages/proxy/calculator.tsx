/** What a deposit buys, and the other way round: the deposit for so many questions a day. */
import { useState } from "preact/hooks";
import type { Model, Overview } from "../../api/proxy.ts";
import {
  type ModelPrice,
  depositFor,
  exact,
  exchangesFor,
  formatCount,
  formatPpm,
  formatSpan,
  formatUnits,
  parseUsdc,
  usdcFor,
  yieldOf,
} from "../../amounts.ts";
import { Field, Figure, Notice, Table, Usdc } from "../../app/parts.tsx";
import { home } from "../../text.ts";

const TOKENS_MAX = 1_000_000n;

interface Wish {
  readonly deposit: string;
  readonly rate: string;
  readonly questions: string;
  readonly input: string;
  readonly output: string;
}

export function Calculator({ overview, models }: { readonly overview: Overview; readonly models: readonly Model[] }) {
  const vault = overview.vault;
  const known = vault?.year_yield_ppm ?? null;
  const [wish, setWish] = useState<Wish>({
    deposit: "1000",
    rate: known === null ? "4" : formatUnits(exact(known), 4).replaceAll(",", ""),
    questions: "20",
    input: "500",
    output: "500",
  });
  const set = (name: keyof Wish) => (event: Event) =>
    setWish({ ...wish, [name]: (event.currentTarget as HTMLInputElement).value });
  const deposit = parseUsdc(wish.deposit);
  const rate = parseUsdc(wish.rate);
  const questions = readCount(wish.questions);
  const input = readCount(wish.input);
  const output = readCount(wish.output);
  // A percent with six decimals is a ten-thousandth of parts of a million.
  const ppm = rate.kind === "amount" ? rate.usdc / 100n : 0n;
  const yearly = deposit.kind === "amount" ? yieldOf(deposit.usdc, ppm) : 0n;
  const priced = models.flatMap((model) => {
    const price = priceOf(model);
    return price ? [{ id: model.id, price }] : [];
  });
  return (
    <div class="calculator">
      <form onSubmit={(event) => event.preventDefault()}>
        <Field label={home.depositLabel} error={deposit.kind === "wrong" ? deposit.why : undefined}>
          {(ids) => <input {...ids} inputMode="decimal" value={wish.deposit} onInput={set("deposit")} />}
        </Field>
        <Field label={home.rateLabel} error={rate.kind === "wrong" ? rate.why : undefined}>
          {(ids) => <input {...ids} inputMode="decimal" value={wish.rate} onInput={set("rate")} />}
        </Field>
        <Field label={home.exchangesLabel} error={questions === null ? home.wholeNumber : undefined}>
          {(ids) => <input {...ids} inputMode="numeric" value={wish.questions} onInput={set("questions")} />}
        </Field>
        <Field label={home.inputLabel} hint={home.tokensHint} error={input === null ? home.wholeNumber : undefined}>
          {(ids) => <input {...ids} inputMode="numeric" value={wish.input} onInput={set("input")} />}
        </Field>
        <Field label={home.outputLabel} error={output === null ? home.wholeNumber : undefined}>
          {(ids) => <input {...ids} inputMode="numeric" value={wish.output} onInput={set("output")} />}
        </Field>
      </form>
      <div>
        <p class="quiet">
          {known === null
            ? home.rateUnknown
            : home.rate(formatPpm(exact(known)), formatSpan(vault?.measured_over_s ?? 0))}
        </p>
        <dl class="figures" aria-live="polite">
          <Figure name={home.yieldYear}>
            <Usdc of={yearly} />
          </Figure>
          <Figure name={home.yieldDay}>
            <Usdc of={yearly / 365n} />
          </Figure>
        </dl>
        {priced.length === 0 ? (
          <Notice>{home.noModels}</Notice>
        ) : (
          <Table label={home.calculator}>
              <thead>
                <tr>
                  <th scope="col">{home.model}</th>
                  <th scope="col" class="number">{home.exchangesYear}</th>
                  <th scope="col" class="number">{home.exchangesDay}</th>
                  <th scope="col" class="number">{home.depositNeeded}</th>
                </tr>
              </thead>
              <tbody>
                {priced.slice(0, 12).map(({ id, price }) => {
                  const bought = exchangesFor(yearly, price, input ?? 0n, output ?? 0n);
                  const needed = depositFor(usdcFor((questions ?? 0n) * 365n, price, input ?? 0n, output ?? 0n), ppm);
                  return (
                    <tr key={id}>
                      <th scope="row">{id}</th>
                      <td class="number">{bought === null ? home.free : formatCount(bought)}</td>
                      <td class="number">{bought === null ? home.free : formatCount(bought / 365n)}</td>
                      <td class="number">
                        <Usdc of={needed} />
                      </td>
                    </tr>
                  );
                })}
              </tbody>
            </Table>
        )}
      </div>
    </div>
  );
}

function readCount(text: string): bigint | null {
  const plain = text.trim();
  if (!/^\d{1,7}$/.test(plain)) return null;
  const count = BigInt(plain);
  return count <= TOKENS_MAX ? count : null;
}

/** Returns a model's price; null where it has none and cannot be used. */
export function priceOf(model: Model): ModelPrice | null {
  if (model.input_usdc_per_mtok === null || model.output_usdc_per_mtok === null) return null;
  return {
    inputPerMtok: exact(model.input_usdc_per_mtok),
    outputPerMtok: exact(model.output_usdc_per_mtok),
    perRequest: exact(model.per_request_usdc ?? 0),
  };
}
