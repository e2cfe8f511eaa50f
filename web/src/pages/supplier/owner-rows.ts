/** Owners as the form has them: rows that may still have gaps, and what is sent of them. Pure. */
import type { Schemas } from "../../api/market.ts";
import { intakeTexts as texts } from "../../text.ts";
import { orNull } from "../../app/words.ts";

export interface OwnerRow {
  /** Tells rows apart on the page. */
  readonly key: string;
  /** Null: it was not saved yet. */
  readonly ownerId: string | null;
  readonly legalName: string;
  readonly nationality: string;
  readonly idType: string;
  /** As it was typed; empty once the server has taken it: nobody can have it back. */
  readonly idNumber: string;
  readonly role: string;
  readonly share: string;
}

let made = 0;

export function newRow(): OwnerRow {
  made++;
  return {
    key: `new-${made}`,
    ownerId: null,
    legalName: "",
    nationality: "",
    idType: "passport",
    idNumber: "",
    role: "representative_and_owner",
    share: "",
  };
}

export function toRow(owner: Schemas["OwnerView"]): OwnerRow {
  return {
    key: owner.owner_id,
    ownerId: owner.owner_id,
    legalName: owner.legal_name,
    nationality: owner.nationality,
    idType: owner.id_type,
    idNumber: "",
    role: owner.role,
    share: owner.share_pct === "0" ? "" : owner.share_pct,
  };
}

export function toWish(row: OwnerRow): Record<string, unknown> {
  return {
    owner_id: row.ownerId,
    legal_name: row.legalName,
    nationality: row.nationality,
    id_type: row.idType,
    id_number: orNull(row.idNumber),
    role: row.role,
    share_pct: orNull(row.share.replace("%", "")),
  };
}

/** Returns why the owners cannot be saved yet: the first row with a gap; null where there is none. */
export function findGap(rows: readonly OwnerRow[]): string | null {
  for (const [index, row] of rows.entries()) {
    const isWhole =
      row.legalName.trim() !== "" &&
      row.nationality !== "" &&
      (row.ownerId !== null || row.idNumber.trim() !== "") &&
      (row.role === "legal_representative" || row.share.trim() !== "");
    if (!isWhole) return texts.ownerGap(index + 1);
  }
  return null;
}

/** Returns the rows as they are now, with the ids that the server gave those that were sent. */
export function adoptSaved(
  now: readonly OwnerRow[],
  sent: readonly OwnerRow[],
  saved: readonly Schemas["OwnerView"][],
): readonly OwnerRow[] {
  return now.map((row) => {
    const place = sent.findIndex((one) => one.key === row.key);
    const stored = saved[place];
    const before = sent[place];
    if (!stored || !before) return row;
    return { ...row, ownerId: stored.owner_id, idNumber: row.idNumber === before.idNumber ? "" : row.idNumber };
  });
}

/** Returns the shares together, in per cent with at most two decimals. */
export function sumShares(rows: readonly OwnerRow[]): string {
  const hundredths = rows.reduce((sum, row) => {
    const match = /^(\d{1,3})(?:\.(\d{1,2}))?$/.exec(row.share.replace("%", "").trim());
    return sum + (match ? Number(match[1]) * 100 + Number((match[2] ?? "").padEnd(2, "0")) : 0);
  }, 0);
  return (hundredths / 100).toFixed(2).replace(/\.?0+$/, "");
}
