import { onchainTable } from "ponder";

export const position = onchainTable("position", (t) => ({
  tokenId: t.bigint().primaryKey(),
  hold: t.bigint().notNull(),
  spent: t.bigint().notNull(),
}));
