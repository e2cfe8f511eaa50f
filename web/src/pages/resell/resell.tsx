/** Resell an API: connect one, and see what each connection comes to. */
import { api } from "../../api/market.ts";
import { Notice } from "../../app/parts.tsx";
import { resellTexts as texts } from "../../text.ts";
import { AsSeller } from "../market/wallet-sign-in.tsx";
import { Connection } from "./connection.tsx";
import { ImportFile } from "./import-file.tsx";
import { NewConnection } from "./new-connection.tsx";

export function Resell() {
  return (
    <>
      <h1>{texts.title}</h1>
      <p>{texts.lead}</p>
      <AsSeller name="connections" why={texts.needWallet} ask={(signal) => api.get("/v1/seller/connections", { signal })}>
        {({ connections }, watched) => (
          <>
            <NewConnection done={watched.refresh} isFirst={connections.length === 0} />
            <ImportFile known={connections} done={watched.refresh} />
            <h2>{texts.yours}</h2>
            {connections.length === 0 ? (
              <Notice>{texts.none}</Notice>
            ) : (
              <ul class="cards">
                {connections.map((one) => (
                  <Connection key={one.id} connection={one} refresh={watched.refresh} />
                ))}
              </ul>
            )}
          </>
        )}
      </AsSeller>
    </>
  );
}
