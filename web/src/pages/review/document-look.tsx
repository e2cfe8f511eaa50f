/**
 * A document of an application. Each look is written down, so it is fetched on a click only. A picture is
 * shown in the page, as data that cannot run; a PDF is handed to the reviewer's own reader.
 */
import { useState } from "preact/hooks";
import type { Schemas } from "../../api/market.ts";
import { browserHttp, fillPath } from "../../api/http.ts";
import { Problem } from "../../app/parts.tsx";
import { toError } from "../../app/task.tsx";
import { reviewTexts as texts } from "../../text.ts";
import { formatBytes } from "../../app/words.ts";

type Looking =
  | { readonly kind: "closed" }
  | { readonly kind: "fetching" }
  | { readonly kind: "shown"; readonly picture: string }
  | { readonly kind: "saved" }
  | { readonly kind: "failed"; readonly error: Error };

const PATH = "/v1/review/applications/{supplier_id}/documents/{document_id}";

/** Returns bytes as a data URL: the page's policy lets no other picture in. */
export function toDataUrl(data: Uint8Array, mediaType: string): string {
  let binary = "";
  for (let at = 0; at < data.length; at += 0x8000) binary += String.fromCharCode(...data.subarray(at, at + 0x8000));
  return `data:${mediaType};base64,${btoa(binary)}`;
}

/** Hands bytes to the browser as a file of that name. */
function save(data: Uint8Array<ArrayBuffer>, name: string): void {
  // Never as a document of this site: the browser saves it, whatever it holds.
  const url = URL.createObjectURL(new Blob([data], { type: "application/octet-stream" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  URL.revokeObjectURL(url);
}

export function DocumentLook(props: { readonly supplierId: string; readonly document: Schemas["DocumentView"] }) {
  const { document: one } = props;
  const [looking, setLooking] = useState<Looking>({ kind: "closed" });
  const isPicture = one.media_type === "image/png" || one.media_type === "image/jpeg";
  const look = async (): Promise<void> => {
    setLooking({ kind: "fetching" });
    try {
      const path = fillPath(PATH, { path: { supplier_id: props.supplierId, document_id: one.document_id } });
      const answer = await browserHttp.send("GET", path, { headers: { accept: "*/*" } });
      const data = new Uint8Array(await answer.arrayBuffer());
      if (isPicture) return setLooking({ kind: "shown", picture: toDataUrl(data, one.media_type) });
      save(data, one.name);
      setLooking({ kind: "saved" });
    } catch (thrown) {
      setLooking({ kind: "failed", error: toError(thrown) });
    }
  };
  return (
    <>
      <small>
        {one.name} · {formatBytes(one.size_bytes)} · SHA-256 <code title={one.sha256}>{one.sha256.slice(0, 12)}…</code>
      </small>
      <div class="actions">
        {looking.kind === "shown" ? (
          <button type="button" class="small" onClick={() => setLooking({ kind: "closed" })}>
            {texts.closeDocument(one.name)}
          </button>
        ) : (
          <button type="button" class="small" disabled={looking.kind === "fetching"} onClick={() => void look()}>
            {isPicture ? texts.showDocument(one.name) : texts.saveDocument(one.name)}
          </button>
        )}
      </div>
      <div aria-live="polite">
        {looking.kind === "shown" && <img class="document-picture" src={looking.picture} alt={texts.pictureOf(one.name)} />}
        {looking.kind === "saved" && <small>{texts.saved}</small>}
        {looking.kind === "failed" && <Problem error={looking.error} />}
      </div>
    </>
  );
}
