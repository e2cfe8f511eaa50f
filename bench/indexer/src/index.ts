import { ponder } from "ponder:registry";
import { position } from "ponder:schema";

ponder.on("Position:HoldPlaced", async ({ event, context }) => {
  const { tokenId, granted } = event.args;
  await context.db
    .insert(position)
    .values({ tokenId, hold: granted, spent: 0n })
    .onConflictDoUpdate({ hold: granted });
});

ponder.on("Position:Settled", async ({ event, context }) => {
  const { tokenId, spentAfter } = event.args;
  await context.db
    .insert(position)
    .values({ tokenId, hold: 0n, spent: spentAfter })
    .onConflictDoUpdate({ spent: spentAfter });
});
