/** Deposit: how much, into what, under which terms; then the wallet. */
import { useState } from "preact/hooks";
import { type Overview, api } from "../../api/proxy.ts";
import { exact, formatPpm, formatSpan, formatUsdc, parseUsdc } from "../../amounts.ts";
import { Field, Figure, Hex, Notice, Shown, Usdc } from "../../app/parts.tsx";
import { useRemote } from "../../app/remote.ts";
import { navigate, usePlace } from "../../app/router.ts";
import { depositTexts as texts, walletTexts } from "../../text.ts";
import { Plot } from "../../charts/plot.tsx";
import { useAct } from "../../wallet/acting.ts";
import { type Terms, deposit, entrust } from "../../wallet/deposit.ts";
import { NeedWallet, PendingList, Progress } from "../../wallet/panel.tsx";
import { useConnection } from "../../wallet/store.ts";
import { Entrusting, Pasting, keepEntrusted } from "./entrusting.tsx";

const INTERVALS = [30, 60, 120, 240, 360];
const SMOOTHINGS = [10_000, 5_000, 2_000, 1_000, 500];

export function Deposit() {
  const overview = useRemote("overview", (signal) => api.get("/api/current/overview", { signal }));
  return (
    <>
      <h1>{texts.title}</h1>
      <p>{texts.lead}</p>
      <PendingList />
      <Shown of={overview}>{(data) => <DepositForm overview={data} />}</Shown>
    </>
  );
}

function DepositForm({ overview }: { readonly overview: Overview }) {
  const connection = useConnection();
  const added = usePlace().query.get("to");
  const tokenId = added !== null && /^\d{1,19}$/.test(added) ? BigInt(added) : null;
  const [amount, setAmount] = useState("");
  const [touched, setTouched] = useState(false);
  const [smoothing, setSmoothing] = useState(10_000);
  const [interval, setInterval_] = useState(30);
  const [accepted, setAccepted] = useState(false);
  const act = useAct();
  const parsed = parseUsdc(amount);
  const wrong = parsed.kind === "wrong" ? parsed.why : parsed.usdc === 0n ? texts.nothing : undefined;
  // What is shown below is what is signed: this one object.
  const terms: Terms | null =
    parsed.kind === "amount" && wrong === undefined
      ? { assetsUsdc: parsed.usdc, tier: 0, smoothingBps: smoothing, intervalMinutes: interval, tokenId }
      : null;
  const canAsk = wrong === undefined && accepted && overview.vault !== null && !act.isBusy;
  const begin = (byApproval: boolean): void => {
    setTouched(true);
    if (terms === null || !canAsk) return;
    void act.run(overview.chain_id, async (tools) => {
      const opened = await deposit(tools, overview, { ...terms, byApproval });
      navigate(`/position/${opened}`);
      return texts.done(opened.toString());
    });
  };
  const sign = (): void => {
    setTouched(true);
    if (terms === null || !canAsk) return;
    void act.run(overview.chain_id, async (tools) => {
      keepEntrusted(await entrust(tools, overview, terms));
      return texts.signedDone;
    });
  };
  return (
    <div class="columns">
      <form
        class="card"
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          begin(false);
        }}
      >
        <h2>{tokenId === null ? texts.new : texts.addTo(tokenId.toString())}</h2>
        <Field label={texts.amount} hint={texts.amountHint} error={touched ? wrong : undefined}>
          {(ids) => (
            <input
              {...ids}
              inputMode="decimal"
              autocomplete="off"
              value={amount}
              disabled={act.isBusy}
              onInput={(event) => setAmount(event.currentTarget.value)}
              onBlur={() => setTouched(amount !== "")}
            />
          )}
        </Field>
        {tokenId === null && (
          <>
            <Field label={texts.smoothing} hint={texts.smoothingHint}>
              {(ids) => (
                <select {...ids} disabled={act.isBusy} onChange={(event) => setSmoothing(Number(event.currentTarget.value))}>
                  {SMOOTHINGS.map((bps) => (
                    <option key={bps} value={bps} selected={bps === smoothing}>
                      {texts.smoothingOf(bps / 100)}
                    </option>
                  ))}
                </select>
              )}
            </Field>
            <Field label={texts.interval} hint={texts.intervalHint}>
              {(ids) => (
                <select {...ids} disabled={act.isBusy} onChange={(event) => setInterval_(Number(event.currentTarget.value))}>
                  {INTERVALS.map((minutes) => (
                    <option key={minutes} value={minutes} selected={minutes === interval}>
                      {formatSpan(minutes * 60)}
                    </option>
                  ))}
                </select>
              )}
            </Field>
            <p class="quiet">{texts.tier}</p>
          </>
        )}
        {terms !== null && <WhatIsSigned terms={terms} overview={overview} />}
        <label class="choice">
          <input type="checkbox" checked={accepted} disabled={act.isBusy} onChange={(event) => setAccepted(event.currentTarget.checked)} />
          {texts.accept}
        </label>
        {connection.kind === "connected" ? (
          <div class="actions">
            <button type="submit" class="main" disabled={!canAsk}>
              {texts.submit}
            </button>
            <button type="button" disabled={!canAsk} onClick={() => begin(true)}>
              {texts.submitApprove}
            </button>
          </div>
        ) : (
          <NeedWallet why={texts.needWallet} />
        )}
        <Progress act={act} />
        {act.state.kind === "failed" && ["silent", "unsupported"].includes(act.state.problem.kind) && (
          <p>
            <button type="button" onClick={() => begin(true)}>
              {texts.tryApprove}
            </button>
          </p>
        )}
        {connection.kind === "connected" && (
          <details>
            <summary>{texts.noEther}</summary>
            <p>{texts.noEtherWhy}</p>
            <button type="button" disabled={!canAsk} onClick={sign}>
              {texts.sign}
            </button>
          </details>
        )}
        {connection.kind === "connected" && connection.wallet.chainId !== overview.chain_id && (
          <Notice kind="warning">{texts.otherChain(overview.chain_id)}</Notice>
        )}
      </form>
      <div>
        <Entrusting overview={overview} />
        <VaultCard overview={overview} />
        <Pasting overview={overview} />
      </div>
    </div>
  );
}

/** Everything that the wallet is asked to sign, to compare with what it shows. */
function WhatIsSigned({ terms, overview }: { readonly terms: Terms; readonly overview: Overview }) {
  return (
    <Notice>
      <strong>{texts.whatHappens}</strong>
      <ul>
        <li>{texts.leaves(formatUsdc(terms.assetsUsdc), overview.vault?.name ?? "")}</li>
        <li>{texts.floor}</li>
        {terms.tokenId === null ? (
          <>
            <li>{texts.opens}</li>
            <li>{texts.signedInterval(terms.intervalMinutes)}</li>
            <li>{texts.signedSmoothing(terms.smoothingBps / 100)}</li>
          </>
        ) : (
          <li>{texts.adds(terms.tokenId.toString())}</li>
        )}
        <li>
          {texts.signedAdapter} <Address of={overview.contracts.adapter} />
        </li>
        <li>
          {texts.signedVault} <Address of={overview.vault_address} />
        </li>
        <li>{texts.signedPermission}</li>
      </ul>
    </Notice>
  );
}

/** A whole address: what is compared must not be cut. */
function Address({ of }: { readonly of: string }) {
  return <code class="whole">{of}</code>;
}

function VaultCard({ overview }: { readonly overview: Overview }) {
  const vault = overview.vault;
  if (!vault) {
    return (
      <div class="card">
        <h2>{texts.vault}</h2>
        <Notice kind="warning">{texts.vaultUnknown}</Notice>
        <Hex of={overview.vault_address} />
      </div>
    );
  }
  const prices = vault.history.map((point) => ({ at: point.at_s, value: Number(BigInt(point.price) / 1_000n) / 1e9 }));
  const lost = vault.lost_assets_usdc;
  return (
    <div class="card">
      <h2>{texts.vaultNamed(vault.name)}</h2>
      <p class="quiet">{texts.reviewed}</p>
      {lost !== null && lost > 0 && <Notice kind="warning">{texts.lost(formatUsdc(exact(lost)))}</Notice>}
      <dl class="figures">
        <Figure name={texts.rate} hint={vault.measured_over_s === null ? "" : texts.over(formatSpan(vault.measured_over_s))}>
          {vault.year_yield_ppm === null ? walletTexts.noRate : formatPpm(exact(vault.year_yield_ppm))}
        </Figure>
        <Figure name={texts.size}>
          <Usdc of={exact(vault.total_assets_usdc)} />
        </Figure>
        <Figure name={texts.liquid} hint={texts.liquidHint}>
          <Usdc of={exact(vault.liquid_usdc)} />
        </Figure>
        <Figure name={texts.fee}>{vault.fee_ppm === null ? texts.feeUnknown : formatPpm(exact(vault.fee_ppm))}</Figure>
      </dl>
      <h3>{texts.priceHistory}</h3>
      <Plot label={texts.priceHistory} series={[{ name: texts.price, points: prices }]} />
      <Hex of={vault.address} />
    </div>
  );
}
