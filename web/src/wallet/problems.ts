/** What wallets and nodes answer when they do not do what was asked, in words. Pure. */
import { RequestFailed } from "../api/http.ts";
import { walletTexts as texts } from "../text.ts";

export type ProblemKind =
  | "refused"
  | "busy"
  | "unsupported"
  | "disconnected"
  | "other_chain"
  | "other_account"
  | "silent"
  | "reverted"
  | "unknown";

/** Why a wallet did not do it, and what helps. */
export class WalletProblem extends Error {
  readonly kind: ProblemKind;

  constructor(kind: ProblemKind, message: string) {
    super(message);
    this.name = "WalletProblem";
    this.kind = kind;
  }
}

const BY_CODE: Readonly<Record<number, Exclude<ProblemKind, "reverted" | "unknown">>> = {
  4001: "refused",
  4100: "disconnected",
  4200: "unsupported",
  4900: "disconnected",
  4901: "other_chain",
  4902: "other_chain",
  5700: "unsupported",
  5710: "other_chain",
  5720: "busy",
  5740: "unsupported",
  5750: "unsupported",
  5760: "unsupported",
  [-32601]: "unsupported",
  [-32004]: "unsupported",
  [-32002]: "busy",
};

/** What our contracts say, and what to do about it: the table of docs/depositors.md. */
const REASONS: readonly (readonly [RegExp, string])[] = [
  [/(adapter|position): not owner/, texts.notOwner],
  [/ERC20: (insufficient|exceeds|transfer amount exceeds) ?(balance)?/i, texts.tooLittleUsdc],
  [/adapter: too few shares/, texts.tooFewShares],
  [/adapter: shares worth too little/, texts.worthTooLittle],
  [/adapter: permit refused|FiatTokenV2|usdc: (invalid signature|authorization)/, texts.permitRefused],
  [/adapter: refused, name less/, texts.nameLess],
  [/adapter: too little paid/, texts.tooLittlePaid],
  [/adapter: vault paid nothing/, texts.paidNothing],
  [/adapter: vault does not answer/, texts.vaultSilent],
  [/adapter: no principal/, texts.noPrincipal],
  [/position: held, request release/, texts.held],
  [/position: nothing to withdraw/, texts.nothingToWithdraw],
  [/insufficient funds/i, texts.noEther],
];

/** Returns a contract's refusal in words; undefined where the text is none of ours. */
export function explainRevert(text: string): string | undefined {
  return REASONS.find(([pattern]) => pattern.test(text))?.[1];
}

/** Returns what went wrong, whatever a wallet threw: their errors have no one shape. */
export function toProblem(thrown: unknown): WalletProblem {
  const known = findProblem(thrown);
  if (known) return known;
  if (thrown instanceof RequestFailed) return new WalletProblem("unknown", thrown.message);
  const texts_ = [...textsOf(thrown)];
  const said = texts_.join(" ");
  const code = codeOf(thrown);
  const explained = explainRevert(said);
  if (explained) return new WalletProblem("reverted", explained);
  const kind = code === undefined ? undefined : BY_CODE[code];
  if (kind === "refused" || /user (rejected|denied|cancel)/i.test(said)) return new WalletProblem("refused", texts.refused);
  if (kind) return new WalletProblem(kind, texts[kind]);
  if (/unrecognized chain|chain .*not (been )?added/i.test(said)) return new WalletProblem("other_chain", texts.other_chain);
  if (/revert/i.test(said)) return new WalletProblem("reverted", texts.reverted(clip(texts_[0] ?? "")));
  return new WalletProblem("unknown", texts.unknownProblem(clip(texts_[0] ?? String(thrown))));
}

/** What was put into words once stays so, whatever a library wraps around it. */
function findProblem(thrown: unknown, depth = 0): WalletProblem | undefined {
  if (thrown instanceof WalletProblem) return thrown;
  if (typeof thrown !== "object" || thrown === null || depth > 6) return undefined;
  return findProblem((thrown as Record<string, unknown>)["cause"], depth + 1);
}

function codeOf(thrown: unknown, depth = 0): number | undefined {
  if (typeof thrown !== "object" || thrown === null || depth > 6) return undefined;
  const { code, cause, data, originalError } = thrown as Record<string, unknown>;
  if (typeof code === "number" && code in BY_CODE) return code;
  return codeOf(cause, depth + 1) ?? codeOf(data, depth + 1) ?? codeOf(originalError, depth + 1);
}

function* textsOf(thrown: unknown, depth = 0): Generator<string> {
  if (typeof thrown === "string") yield thrown;
  if (typeof thrown !== "object" || thrown === null || depth > 6) return;
  const fields = thrown as Record<string, unknown>;
  for (const name of ["reason", "shortMessage", "message", "details"]) {
    const text = fields[name];
    if (typeof text === "string") yield text;
  }
  for (const name of ["cause", "data", "originalError", "error"]) yield* textsOf(fields[name], depth + 1);
}

function clip(text: string): string {
  const line = text.split("\n")[0] ?? "";
  return line.length > 200 ? `${line.slice(0, 199)}…` : line;
}
