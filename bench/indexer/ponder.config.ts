import { readFileSync } from "node:fs";
import { createConfig } from "ponder";
import { http } from "viem";

const record = JSON.parse(readFileSync(process.env.BENCH_DEPLOYMENT!, "utf8"));
const abi = JSON.parse(readFileSync(process.env.BENCH_ABI!, "utf8"));

export default createConfig({
  ordering: "multichain",
  networks: {
    bench: {
      chainId: record.chain_id,
      // Its ranges grow past the default limit of 10 MB, which ends it.
      transport: http(process.env.BENCH_RPC_URL!, { maxResponseBodySize: false }),
      // Its own default, 50, would be measured instead of the indexer.
      maxRequestsPerSecond: 1_000_000,
      disableCache: true,
    },
  },
  contracts: {
    Position: {
      abi,
      network: "bench",
      address: record.contracts.position,
      startBlock: record.block_number,
    },
  },
});
