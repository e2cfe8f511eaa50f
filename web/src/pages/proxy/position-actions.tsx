/** What a position's owner can do: each with its consequence in words, tried before it is signed. */
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { Hex } from "viem";
import { type Overview, type Position, api } from "../../api/proxy.ts";
import { exact, formatSpan, formatUsdc, parseUsdc } from "../../amounts.ts";
import { Field, Notice } from "../../app/parts.tsx";
import { positionTexts as texts } from "../../text.ts";
import { type Act, type Tools, useAct } from "../../wallet/acting.ts";
import type { Step } from "../../wallet/contracts.ts";
import { Progress } from "../../wallet/panel.tsx";

const RELEASE_LOOK_MS = 1_000;
const INTERVALS = [30, 60, 120, 240, 360];

interface ActionsProps {
  readonly overview: Overview;
  readonly view: Position;
  readonly refresh: () => void;
}

export function Actions({ overview, view, refresh }: ActionsProps) {
  const act = useAct();
  const tokenId = BigInt(view.token_id);
  const adapter = (name: string, ...values: unknown[]): Step => ({
    contract: "adapter",
    to: overview.contracts.adapter as Hex,
    name,
    values: [tokenId, ...values],
  });
  const position = (name: string): Step => ({
    contract: "position",
    to: overview.contracts.position as Hex,
    name,
    values: [tokenId],
  });
  const run = (title: string, work: (tools: Tools) => Promise<string>): void =>
    void act.run(overview.chain_id, async (tools) => {
      const said = await work(tools);
      refresh();
      return said || texts.doneOf(title);
    });
  const simple = (title: string, step: Step) => (): void =>
    run(title, async (tools) => {
      await tools.carryOut(title, step);
      return "";
    });
  return (
    <section>
      <h2>{texts.actions}</h2>
      <Progress act={act} />
      <div class="columns">
        <Withdraw act={act} view={view} run={run} step={adapter} vault={view.vault as Hex} />
        <Card title={texts.cashOut} why={texts.cashOutHint}>
          <button type="button" disabled={act.isBusy} onClick={() => run(texts.cashOut, (tools) => cashOut(tools, position, view))}>
            {texts.cashOut}
          </button>
        </Card>
        <Card title={texts.harvest} why={texts.harvestHint}>
          <button type="button" disabled={act.isBusy} onClick={simple(texts.harvest, adapter("harvest"))}>
            {texts.harvest}
          </button>
        </Card>
        <Card title={texts.deposit} why={texts.depositHint}>
          <a class="button" href={`/deposit?to=${view.token_id}`}>
            {texts.deposit}
          </a>
        </Card>
        <Interval act={act} view={view} change={(minutes) => simple(texts.interval, adapter("setHarvestInterval", minutes))()} />
        <Card title={texts.revoke} why={texts.revokeHint}>
          <button
            type="button"
            class="danger"
            disabled={act.isBusy}
            onClick={() => run(texts.revoke, (tools) => revoke(tools, position, view))}
          >
            {texts.revoke}
          </button>
        </Card>
        <Card title={texts.inKind} why={texts.inKindHint}>
          <button type="button" class="danger" disabled={act.isBusy} onClick={simple(texts.inKind, adapter("exitInKind"))}>
            {texts.inKind}
          </button>
        </Card>
      </div>
    </section>
  );
}

function Card(props: { readonly title: string; readonly why: string; readonly children: ComponentChildren }) {
  return (
    <div class="card">
      <h3>{props.title}</h3>
      <p class="quiet">{props.why}</p>
      {props.children}
    </div>
  );
}

/** Asks for the release of what is held, waits until it is free, and takes unspent yield out. */
async function cashOut(tools: Tools, position: (name: string) => Step, view: Position): Promise<string> {
  const account = () => tools.chain.read<{ held: bigint }>(tools.wallet.provider, position("accountOf"));
  if ((await account()).held > 0n) {
    await tools.carryOut(texts.release, position("requestRelease"));
    tools.say(texts.waitingForRelease);
    while ((await account()).held > 0n) {
      tools.signal.throwIfAborted();
      await new Promise((resolve) => setTimeout(resolve, RELEASE_LOOK_MS));
    }
  }
  const free = await tools.chain.read<bigint>(tools.wallet.provider, position("withdrawableYield"));
  if (free === 0n) return texts.nothingUnspent;
  await tools.carryOut(texts.cashOut, position("withdrawUnspentYield"));
  return texts.cashedOut(formatUsdc(free), view.token_id.toString());
}

/** Revokes all keys; says in which block it counted, by our server's mirror. */
async function revoke(tools: Tools, position: (name: string) => Step, view: Position): Promise<string> {
  await tools.carryOut(texts.revoke, position("bumpKeyEpoch"));
  tools.say(texts.waitingForMirror);
  for (;;) {
    tools.signal.throwIfAborted();
    const now = await api.get("/api/current/positions/{tokenId}", { path: { tokenId: view.token_id.toString() } });
    if (now.key_epoch > view.key_epoch) return texts.revoked(String(now.mirror?.block_number ?? ""));
    await new Promise((resolve) => setTimeout(resolve, RELEASE_LOOK_MS));
  }
}

function Withdraw(props: {
  readonly act: Act;
  readonly view: Position;
  readonly vault: Hex;
  readonly run: (title: string, work: (tools: Tools) => Promise<string>) => void;
  readonly step: (name: string, ...values: unknown[]) => Step;
}) {
  const [amount, setAmount] = useState("");
  const [touched, setTouched] = useState(false);
  const principal = exact(props.view.principal_usdc);
  const parsed = parseUsdc(amount);
  let wrong: string | undefined;
  if (parsed.kind === "wrong") wrong = parsed.why;
  else if (parsed.usdc === 0n) wrong = texts.moreThanZero;
  else if (parsed.usdc > principal) wrong = texts.atMost(formatUsdc(principal));
  const take = (assets: bigint | null): void =>
    props.run(texts.withdraw, async (tools) => {
      const worth = await tools.chain.read<bigint>(tools.wallet.provider, props.step("principalValue"));
      // A vault may round by a unit or two; below that it is a loss, which is never taken by surprise.
      const part = assets === null ? [] : [assets, assets > 2n ? assets - 2n : 0n];
      if (assets === null && worth < principal && !window.confirm(texts.lossAsk(formatUsdc(principal - worth)))) {
        return texts.lossKept;
      }
      const logs = await tools.carryOut(texts.withdraw, props.step("withdrawPrincipal", ...part));
      const event = tools.chain.findEvent("adapter", "PrincipalWithdrawn", logs);
      const paid = typeof event?.["assets"] === "bigint" ? event["assets"] : 0n;
      const left = typeof event?.["principalAfter"] === "bigint" ? event["principalAfter"] : 0n;
      return texts.withdrawn(formatUsdc(paid), formatUsdc(left));
    });
  return (
    <Card title={texts.withdraw} why={texts.withdrawHint}>
      {principal === 0n ? (
        <Notice>{texts.noPrincipal}</Notice>
      ) : (
        <form
          noValidate
          onSubmit={(event) => {
            event.preventDefault();
            setTouched(true);
            if (parsed.kind === "amount" && wrong === undefined) take(parsed.usdc);
          }}
        >
          <Field label={texts.withdrawAmount} error={touched ? wrong : undefined}>
            {(ids) => (
              <input
                {...ids}
                inputMode="decimal"
                autocomplete="off"
                value={amount}
                disabled={props.act.isBusy}
                onInput={(event) => setAmount(event.currentTarget.value)}
              />
            )}
          </Field>
          <div class="actions">
            <button type="submit" disabled={props.act.isBusy}>
              {texts.withdrawPart}
            </button>
            <button type="button" disabled={props.act.isBusy} onClick={() => take(null)}>
              {texts.withdrawAll}
            </button>
          </div>
        </form>
      )}
    </Card>
  );
}

function Interval(props: { readonly act: Act; readonly view: Position; readonly change: (minutes: number) => void }) {
  const [minutes, setMinutes] = useState(props.view.harvest.interval_s / 60);
  return (
    <Card title={texts.interval} why={texts.intervalHint}>
      <Field label={texts.interval}>
        {(ids) => (
          <select {...ids} onChange={(event) => setMinutes(Number(event.currentTarget.value))}>
            {INTERVALS.map((one) => (
              <option key={one} value={one} selected={one === minutes}>
                {formatSpan(one * 60)}
              </option>
            ))}
          </select>
        )}
      </Field>
      <button type="button" disabled={props.act.isBusy} onClick={() => props.change(minutes)}>
        {texts.change}
      </button>
    </Card>
  );
}
