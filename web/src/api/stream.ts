/** A streamed answer: its text as it arrives, its cost at the end. Pure but for reading. */

export interface Piece {
  readonly text: string;
  readonly costUsdc: number | null;
  readonly error: string | null;
  readonly isEnd: boolean;
}

/** Reads one event of a stream; what is not for us says nothing. */
export function readEvent(event: string): Piece {
  const nothing: Piece = { text: "", costUsdc: null, error: null, isEnd: false };
  const data = event
    .split("\n")
    .filter((line) => line.startsWith("data:"))
    .map((line) => line.slice(5).trimStart())
    .join("\n");
  if (data === "") return nothing;
  if (data === "[DONE]") return { ...nothing, isEnd: true };
  let chunk: Record<string, unknown>;
  try {
    chunk = JSON.parse(data) as Record<string, unknown>;
  } catch {
    return nothing;
  }
  const error = chunk["error"] as { message?: unknown; cost_usdc?: unknown } | undefined;
  if (error) {
    const cost = typeof error.cost_usdc === "number" ? error.cost_usdc : null;
    return { text: "", costUsdc: cost, error: String(error.message), isEnd: true };
  }
  const choices = chunk["choices"] as { delta?: { content?: unknown } }[] | undefined;
  const content = choices?.[0]?.delta?.content;
  const usage = chunk["usage"] as { cost?: unknown } | null | undefined;
  return {
    text: typeof content === "string" ? content : "",
    costUsdc: typeof usage?.cost === "number" ? usage.cost : null,
    error: null,
    isEnd: false,
  };
}

/** Yields the pieces of a response's body until it ends. */
export async function* readStream(body: ReadableStream<Uint8Array>): AsyncGenerator<Piece> {
  const decoder = new TextDecoder();
  const reader = body.getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    rest += decoder.decode(value, { stream: !done }).replaceAll("\r\n", "\n");
    const events = rest.split("\n\n");
    rest = done ? "" : (events.pop() ?? "");
    for (const event of events) yield readEvent(event);
    if (done) return;
  }
}
