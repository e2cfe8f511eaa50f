/** Credit: what a wallet prepaid by x402, and its way back to the wallet. */
import { useState } from "preact/hooks";
import { type Schemas, api } from "../../api/market.ts";
import { exact, formatTime, formatUsdc, parseUsdc } from "../../amounts.ts";
import { TextField } from "../../app/fields.tsx";
import { TxLink } from "../../app/money.tsx";
import { Figure, Foldable, Hex, Notice, Table, Usdc } from "../../app/parts.tsx";
import { TaskSaid, useTask } from "../../app/task.tsx";
import { creditTexts as texts } from "../../text.ts";
import { NeedWallet } from "../../wallet/panel.tsx";
import { useConnection } from "../../wallet/store.ts";
import { WalletKeys } from "./wallet-keys.tsx";
import { AsBuyer } from "./wallet-sign-in.tsx";
import { type Signed, sendWithdrawal, signWithdrawal } from "./withdrawing.ts";

type Account = Schemas["BuyerAccount"];
type Terms = Schemas["WithdrawalList"];

const LOOK_AGAIN_MS = 10_000;

export function Credit() {
  return (
    <>
      <h1>{texts.title}</h1>
      <p>{texts.lead}</p>
      <AsBuyer
        name="credit"
        why={texts.needWallet}
        ask={(signal) => Promise.all([api.get("/v1/buyer/account", { signal }), api.get("/v1/buyer/withdrawals", { signal })])}
        everyMs={([, terms]) => (terms.pending_usdc > 0 || terms.withdrawals.some(isUnderway) ? LOOK_AGAIN_MS : 0)}
      >
        {([account, terms], watched) => (
          <>
            <p class="quiet">
              {texts.of} <Hex of={account.wallet ?? ""} />
            </p>
            <Figures account={account} terms={terms} />
            <Withdraw wallet={account.wallet ?? ""} terms={terms} done={watched.refresh} />
            <Withdrawals terms={terms} />
            <Payments account={account} chainId={terms.chain_id} />
            <Foldable title={texts.keys}>
              <WalletKeys role="buyer" signedOut={watched.refresh} />
            </Foldable>
          </>
        )}
      </AsBuyer>
    </>
  );
}

function isUnderway({ state }: { readonly state: string }): boolean {
  return state === "planned" || state === "sent";
}

function Figures({ account, terms }: { readonly account: Account; readonly terms: Terms }) {
  return (
    <dl class="figures">
      <Figure name={texts.credit} hint={texts.creditHint}><Usdc of={exact(account.available_usdc)} /></Figure>
      <Figure name={texts.reserved} hint={texts.reservedHint}><Usdc of={exact(account.reserved_usdc)} /></Figure>
      <Figure name={texts.spent}><Usdc of={exact(account.spent_usdc)} /></Figure>
      <Figure name={texts.withdrawable}><Usdc of={exact(terms.withdrawable_usdc)} /></Figure>
      {terms.pending_usdc > 0 && (
        <Figure name={texts.young} hint={texts.youngHint}><Usdc of={exact(terms.pending_usdc)} /></Figure>
      )}
    </dl>
  );
}

interface Wish {
  /** null: nothing was typed, so all of it. */
  readonly amountUsdc: bigint | null;
  readonly netUsdc: bigint;
  readonly problem: string | undefined;
}

/** Returns what a typed amount comes to under the terms. */
export function readWish(typed: string, terms: { readonly mostUsdc: bigint; readonly leastUsdc: bigint; readonly feeUsdc: bigint }): Wish {
  const { mostUsdc, leastUsdc, feeUsdc } = terms;
  const parsed = typed.trim() === "" ? null : parseUsdc(typed);
  if (parsed?.kind === "wrong") return { amountUsdc: null, netUsdc: 0n, problem: parsed.why };
  const amountUsdc = parsed === null ? null : parsed.usdc;
  const takenUsdc = amountUsdc ?? mostUsdc;
  const problem =
    takenUsdc > mostUsdc
      ? texts.tooMuch(formatUsdc(mostUsdc))
      : takenUsdc < leastUsdc
        ? texts.tooLittle(formatUsdc(leastUsdc))
        : undefined;
  return { amountUsdc, netUsdc: takenUsdc - feeUsdc, problem };
}

function Withdraw({ wallet, terms, done }: { readonly wallet: string; readonly terms: Terms; readonly done: () => void }) {
  const [typed, setTyped] = useState("");
  const [unsure, setUnsure] = useState<Signed | null>(null);
  const task = useTask();
  const connection = useConnection();
  const mostUsdc = exact(terms.withdrawable_usdc);
  const feeUsdc = exact(terms.fee_usdc);
  const leastUsdc = exact(terms.minimum_usdc) + feeUsdc;
  const wish = readWish(typed, { mostUsdc, leastUsdc, feeUsdc });
  const send = (signed: Signed) =>
    task.run(async () => {
      let sent = false;
      try {
        sent = await sendWithdrawal(signed);
      } catch (error) {
        // It was refused, so nothing is open any more; the list says what had been taken before.
        setUnsure(null);
        done();
        throw error;
      }
      setUnsure(sent ? null : signed);
      if (!sent) return undefined;
      setTyped("");
      done();
      return texts.done;
    });
  const withdraw = async (): Promise<void> => {
    let signed: Signed | null = null;
    await task.run(async () => {
      signed = await signWithdrawal(wallet, wish.amountUsdc);
    });
    if (signed) await send(signed);
  };
  return (
    <section>
      <h2>{texts.back}</h2>
      {mostUsdc < leastUsdc ? (
        <Notice>{texts.nothing(formatUsdc(leastUsdc))}</Notice>
      ) : connection.kind !== "connected" ? (
        <NeedWallet why={texts.needWallet} />
      ) : (
        <form
          class="card"
          onSubmit={(event) => {
            event.preventDefault();
            if (wish.problem === undefined) void withdraw();
          }}
        >
          <p class="quiet">{texts.how}</p>
          <TextField
            label={texts.amount}
            hint={texts.amountHint(formatUsdc(mostUsdc))}
            error={wish.problem}
            inputMode="decimal"
            value={typed}
            onChange={setTyped}
          />
          {wish.problem === undefined && <p>{texts.arrives(formatUsdc(wish.netUsdc), formatUsdc(feeUsdc))}</p>}
          <button type="submit" class="main" disabled={task.isBusy || unsure !== null || wish.problem !== undefined}>
            {texts.withdraw}
          </button>
        </form>
      )}
      {unsure && (
        <Notice kind="warning">
          {texts.lost}
          <button type="button" class="small" disabled={task.isBusy} onClick={() => void send(unsure)}>
            {texts.again}
          </button>
        </Notice>
      )}
      <TaskSaid task={task} />
      <p class="quiet">{texts.operators}</p>
    </section>
  );
}

function Withdrawals({ terms }: { readonly terms: Terms }) {
  return (
    <section>
      <h2>{texts.history}</h2>
      {terms.withdrawals.length === 0 ? (
        <p class="quiet">{texts.none}</p>
      ) : (
        <Table label={texts.history}>
          <thead>
            <tr>
              <th scope="col">{texts.when}</th>
              <th scope="col" class="number">{texts.arrived}</th>
              <th scope="col" class="number">{texts.fee}</th>
              <th scope="col">{texts.state}</th>
              <th scope="col">{texts.tx}</th>
            </tr>
          </thead>
          <tbody>
            {terms.withdrawals.map((one) => (
              <tr key={one.withdrawal_id}>
                <th scope="row">{formatTime(one.requested_at)}</th>
                <td class="number">{formatUsdc(exact(one.amount_usdc - one.fee_usdc))}</td>
                <td class="number">{formatUsdc(exact(one.fee_usdc))}</td>
                <td>{texts.states[one.state]}</td>
                <td><TxLink network="base" chainId={terms.chain_id} hash={one.transaction} /></td>
              </tr>
            ))}
          </tbody>
        </Table>
      )}
    </section>
  );
}

function Payments({ account, chainId }: { readonly account: Account; readonly chainId: number }) {
  return (
    <Foldable title={texts.payments}>
      {account.payments.length === 0 ? (
        <p class="quiet">{texts.noPayments}</p>
      ) : (
        <Table label={texts.payments}>
          <thead>
            <tr>
              <th scope="col">{texts.when}</th>
              <th scope="col">{texts.purpose}</th>
              <th scope="col" class="number">{texts.paid}</th>
              <th scope="col" class="number">{texts.credited}</th>
              <th scope="col">{texts.state}</th>
              <th scope="col">{texts.tx}</th>
            </tr>
          </thead>
          <tbody>
            {account.payments.map((one) => (
              <tr key={one.payment_id}>
                <th scope="row">{formatTime(one.created_at)}</th>
                <td>{texts.purposes[one.purpose]}</td>
                <td class="number">{formatUsdc(exact(one.value_usdc))}</td>
                <td class="number">{formatUsdc(exact(one.credited_usdc))}</td>
                <td>
                  {texts.paymentStates[one.state]} {one.error !== null && <small>{one.error}</small>}
                </td>
                <td><TxLink network="base" chainId={chainId} hash={one.transaction} /></td>
              </tr>
            ))}
          </tbody>
        </Table>
      )}
    </Foldable>
  );
}
