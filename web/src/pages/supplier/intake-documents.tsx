/** Section 4: supporting documents, each sent with progress and a way to stop. */
import { useRef, useState } from "preact/hooks";
import { api } from "../../api/market.ts";
import { RequestFailed } from "../../api/http.ts";
import { supply, upload } from "../../api/supply.ts";
import { formatTime } from "../../amounts.ts";
import { Problem } from "../../app/parts.tsx";
import { toError } from "../../app/task.tsx";
import { documentNames, intakeTexts as texts } from "../../text.ts";
import { type Filing, SectionFrame } from "./intake-parts.tsx";
import { formatBytes } from "../../app/words.ts";

const BYTES_MAX = 10 * 1_048_576;
const TYPES: Readonly<Record<string, string>> = {
  pdf: "application/pdf",
  jpg: "image/jpeg",
  jpeg: "image/jpeg",
  png: "image/png",
};
const OPTIONAL = "business_history";

/** Returns the media type that a file's name stands for; null where the server takes no such file. */
export function typeOf(name: string): string | null {
  return TYPES[name.split(".").pop()?.toLowerCase() ?? ""] ?? null;
}

export function DocumentSection({ filing }: { readonly filing: Filing }) {
  return (
    <SectionFrame id="documents" number={4} filing={filing} lead={texts.documentsLead}>
      {Object.entries(documentNames).map(([kind, name]) => (
        <Document key={kind} kind={kind} name={name} filing={filing} />
      ))}
    </SectionFrame>
  );
}

type Sending =
  | { readonly kind: "idle" }
  | { readonly kind: "sending"; readonly part: number; readonly abort: AbortController }
  | { readonly kind: "failed"; readonly error: Error };

function Document({ kind, name, filing }: { readonly kind: string; readonly name: string; readonly filing: Filing }) {
  const [sending, setSending] = useState<Sending>({ kind: "idle" });
  const input = useRef<HTMLInputElement>(null);
  const stored = filing.view.documents.find((one) => one.kind === kind);
  const refresh = () => filing.save(() => api.get("/v1/supply/kyb"));
  const send = async (file: File): Promise<void> => {
    const mediaType = typeOf(file.name);
    const wrong = mediaType === null ? texts.wrongType : file.size > BYTES_MAX ? texts.tooLarge(formatBytes(file.size)) : null;
    if (mediaType === null || wrong !== null) return setSending({ kind: "failed", error: new Error(wrong ?? "") });
    const abort = new AbortController();
    setSending({ kind: "sending", part: 0, abort });
    const path = `/v1/supply/kyb/documents?kind=${kind}&name=${encodeURIComponent(file.name)}`;
    try {
      await upload({ path, file, mediaType, signal: abort.signal, onProgress: (part) => setSending({ kind: "sending", part, abort }) });
      await refresh();
      setSending({ kind: "idle" });
    } catch (thrown) {
      const isStopped = thrown instanceof RequestFailed && thrown.code === "stopped";
      setSending(isStopped ? { kind: "idle" } : { kind: "failed", error: toError(thrown) });
    }
  };
  const drop = async (documentId: string): Promise<void> => {
    try {
      await supply.delete("/v1/supply/kyb/documents/{document_id}", { path: { document_id: documentId } });
      await refresh();
    } catch (thrown) {
      setSending({ kind: "failed", error: toError(thrown) });
    }
  };
  const id = `document-${kind}`;
  return (
    <div class="document">
      <div>
        <label for={id}>
          {name} {kind === OPTIONAL && <span class="quiet">{texts.optional}</span>}
        </label>
        {stored ? (
          <small>
            {stored.name} · {formatBytes(stored.size_bytes)} · {texts.uploadedAt(formatTime(stored.uploaded_at))}
          </small>
        ) : (
          <small>{kind === OPTIONAL ? texts.historyHint : texts.missing}</small>
        )}
      </div>
      <div class="actions">
        <input
          ref={input}
          id={id}
          type="file"
          accept=".pdf,.jpg,.jpeg,.png"
          disabled={sending.kind === "sending"}
          onChange={(event) => {
            const file = event.currentTarget.files?.[0];
            // The same file can be chosen again after it was mended.
            if (file) void send(file).then(() => input.current && (input.current.value = ""));
          }}
        />
        {stored && filing.view.can_change && (
          <button type="button" class="small danger" onClick={() => void drop(stored.document_id)}>
            {texts.dropDocument(name)}
          </button>
        )}
      </div>
      <div aria-live="polite">
        {sending.kind === "sending" && (
          <p class="actions">
            <progress aria-label={texts.sendingOf(name)} value={sending.part} max={1} />
            <span>{sending.part < 1 ? texts.sent(Math.floor(sending.part * 100)) : texts.checking}</span>
            <button type="button" class="small" onClick={() => sending.abort.abort()}>
              {texts.stop}
            </button>
          </p>
        )}
        {sending.kind === "failed" && <Problem title={texts.notTaken} error={sending.error} />}
      </div>
    </div>
  );
}
