/** The format of a payout address, network by network: for whoever is about to save one. */
import { Table } from "../../app/parts.tsx";
import { formatTexts as texts, networkNames } from "../../text.ts";
import { DASHBOARD } from "./signed-in.tsx";

type Network = keyof typeof networkNames;
const NETWORKS = Object.keys(networkNames) as Network[];

export function Formats() {
  return (
    <>
      <h1>{texts.title}</h1>
      <p>{texts.lead}</p>
      <Table label={texts.title}>
        <thead>
          <tr>
            <th scope="col">{texts.network}</th>
            <th scope="col">{texts.format}</th>
            <th scope="col">{texts.example}</th>
          </tr>
        </thead>
        <tbody>
          {NETWORKS.map((network) => (
            <tr key={network}>
              <th scope="row">{networkNames[network]}</th>
              <td>{network === "trc20" ? texts.tron : texts.evm}</td>
              <td>
                <code>{network === "trc20" ? texts.tronExample : texts.evmExample}</code>
              </td>
            </tr>
          ))}
        </tbody>
      </Table>
      <h2>{texts.refusedTitle}</h2>
      <ul>
        {texts.refused.map((one) => (
          <li key={one}>{one}</li>
        ))}
      </ul>
      <p>
        {texts.alike} <a href={`${DASHBOARD}?tab=settings`}>{texts.toSettings}</a>
      </p>
    </>
  );
}
