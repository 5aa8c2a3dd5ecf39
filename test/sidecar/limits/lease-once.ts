/** A program for a test: asks the Redis of its argument for one token, and prints the answer. */
import { systemClock } from "../../../src/core/clock.ts";
import { systemRng } from "../../../src/core/rng.ts";
import { RedisStores } from "../../../src/sidecar/limits/redis-stores.ts";

const stores = new RedisStores({ clock: systemClock, rng: systemRng, onState: (_store, _available, detail) => process.stderr.write(`${detail}\n`) });
// The store itself keeps no process alive.
const alive = setInterval(() => {}, 1000);
const store = stores.open(process.argv[2] ?? "");
for (let i = 0; i < 500 && !store.available; i++) await new Promise((resolve) => setTimeout(resolve, 10));
process.stdout.write(JSON.stringify(await store.lease({ key: "once", tokens: 1, requestsPerSecond: 1, burst: 2, timeoutMs: 5000 })));
stores.keep(new Set());
clearInterval(alive);
