/** Where payouts go: an address for each network, named twice because addresses look alike. */
import { useState } from "preact/hooks";
import { fieldOf } from "../../api/http.ts";
import { type Schemas, api } from "../../api/market.ts";
import { supply } from "../../api/supply.ts";
import { formatTime } from "../../amounts.ts";
import { CheckField, type Choice, SelectField, TextField } from "../../app/fields.tsx";
import { Hex, Shown, Table } from "../../app/parts.tsx";
import { useRemote } from "../../app/remote.ts";
import { addressTexts as texts, networkNames } from "../../text.ts";
import { TaskSaid, useTask } from "../../app/task.tsx";
import { Confirm, useConfirming } from "./confirming.tsx";
import { showDecimal } from "../../app/money.tsx";

const NETWORKS: readonly Choice[] = Object.entries(networkNames);

export function Addresses({ hasCodes }: { readonly hasCodes: boolean }) {
  const addresses = useRemote("addresses", (signal) => api.get("/v1/supply/payout-addresses", { signal }));
  return (
    <section>
      <h2>{texts.title}</h2>
      <p>
        {texts.lead} <a href="/docs.html">{texts.formats}</a>
      </p>
      <Shown of={addresses}>
        {({ networks }) => (
          <>
            <List networks={networks} refresh={addresses.refresh} />
            <NewAddress hasCodes={hasCodes} done={addresses.refresh} />
          </>
        )}
      </Shown>
    </section>
  );
}

function List({ networks, refresh }: { readonly networks: readonly Schemas["PayoutAddressView"][]; readonly refresh: () => void }) {
  const task = useTask();
  const cancel = (network: string) =>
    task.run(async () => {
      await supply.delete("/v1/supply/payout-addresses/{network}", { path: { network } });
      refresh();
      return texts.cancelled;
    });
  return (
    <>
      <Table label={texts.title}>
        <thead>
          <tr>
            <th scope="col">{texts.network}</th>
            <th scope="col">{texts.address}</th>
            <th scope="col">{texts.pending}</th>
            <th scope="col" class="number">{texts.minimum}</th>
          </tr>
        </thead>
        <tbody>
          {networks.map((one) => (
            <tr key={one.network}>
              <th scope="row">
                {networkNames[one.network]} {one.is_preferred && <span class="tag good">{texts.preferred}</span>}
                <small>{one.asset}</small>
              </th>
              <td>{one.address === null ? <span class="quiet">{texts.noAddress}</span> : <Hex of={one.address} />}</td>
              <td>
                {one.pending_address !== null && (
                  <>
                    <Hex of={one.pending_address} />
                    <small>{texts.countsAt(formatTime(one.pending_counts_at ?? 0))}</small>
                    <button type="button" class="small danger" disabled={task.isBusy} onClick={() => void cancel(one.network)}>
                      {texts.cancelPending(networkNames[one.network])}
                    </button>
                  </>
                )}
              </td>
              <td class="number">{showDecimal(one.minimum)} {one.asset}</td>
            </tr>
          ))}
        </tbody>
      </Table>
      <TaskSaid task={task} />
    </>
  );
}

function NewAddress({ hasCodes, done }: { readonly hasCodes: boolean; readonly done: () => void }) {
  const [network, setNetwork] = useState("");
  const [again, setAgain] = useState("");
  const [address, setAddress] = useState("");
  const [isPreferred, setPreferred] = useState(true);
  const saving = useConfirming();
  const differs = again !== "" && again !== network;
  const save = (): void => {
    // What is saved is what stood on the page when the button was pressed.
    const body = { network, confirm_network: again, address: address.trim(), is_preferred: isPreferred };
    saving.run(async () => {
      await supply.put("/v1/supply/payout-addresses", { body });
      setAddress("");
      setNetwork("");
      setAgain("");
      done();
      return texts.saved;
    });
  };
  const refused = fieldOf(saving.task.error) === "address" ? saving.task.error?.message : undefined;
  return (
    <form
      class="card"
      onSubmit={(event) => {
        event.preventDefault();
        save();
      }}
    >
      <h3>{texts.set}</h3>
      <div class="pair">
        <SelectField label={texts.network} choices={NETWORKS} empty={texts.choose} isRequired value={network} onChange={setNetwork} />
        <TextField label={texts.address} hint={network === "trc20" ? texts.tronHint : texts.evmHint} isRequired value={address} error={refused} onChange={setAddress} />
        <SelectField label={texts.again} hint={texts.againHint} choices={NETWORKS} empty={texts.choose} isRequired value={again} error={differs ? texts.differs : undefined} onChange={setAgain} />
      </div>
      <CheckField label={texts.prefer} value={isPreferred} onChange={setPreferred} />
      <button type="submit" class="main" disabled={saving.task.isBusy || saving.waiting !== null || network === "" || again !== network}>
        {texts.save}
      </button>
      <Confirm of={saving} hasCodes={hasCodes} />
    </form>
  );
}
