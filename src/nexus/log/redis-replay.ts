/**
 * Whether Redis brings back after its restart what was written by a user other than `default`: it replays what scripts have left
 * in its append-only file as `default`, and drops what that one may not do, saying so in its own log alone (github.com/redis/redis/issues/14541).
 */
import { messageOf } from "../../core/errors.ts";

/** What the script of appends leaves in the file, on one of its keys. */
const WRITES: readonly (readonly string[])[] = [
	["XADD", "1-0", "t", "0"],
	["ZADD", "1", "m"],
	["HSET", "f", "v"],
	["ZREMRANGEBYRANK", "0", "0"],
];

/** Asks without writing anything. Rejects with what to do where it would not. `key`: one of the log's. */
export async function checkReplay(send: (args: readonly string[]) => Promise<unknown>, key: string): Promise<void> {
	for (const [name = "", ...args] of WRITES) {
		let answer: unknown;
		try {
			answer = await send(["ACL", "DRYRUN", "default", name, key, ...args]);
		} catch (thrown) {
			throw new Error(`whether Redis keeps what a user writes over its restart must be asked: give the user +acl|dryrun (${messageOf(thrown)})`, {
				cause: thrown,
			});
		}
		if (answer !== "OK")
			throw new Error(
				`Redis would forget all events with its next restart, because its user default may not do what is replayed from the file (${String(answer)}): write \`user default off ~* &* +@all\`, which lets nobody in`,
			);
	}
}
