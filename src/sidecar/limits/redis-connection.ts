/** One connection to a Redis through node-redis, for as long as it lives: it does not reconnect, nor keep what it cannot send. */
import type { Clock } from "../../core/clock.ts";

const CONNECT_TIMEOUT_MS = 2000;

export interface RedisConnection {
	evalSha(sha1: string, key: string, parameters: readonly string[]): Promise<unknown>;
	eval(script: string, key: string, parameters: readonly string[]): Promise<unknown>;
	/** What is under way is rejected. Idempotent. */
	destroy(): void;
}

/**
 * Resolves with a connection that is ready (connected, authenticated), rejects where there is none within 2 s. `onLost` is called once,
 * after it was ready, when it is over for whatever reason.
 */
export type RedisConnector = (onLost: (detail: string) => void) => Promise<RedisConnection>;

/** `url`: `redis://` or, with TLS, `rediss://`; may hold credentials, and appears in no error. The package is loaded with the first use. */
export function redisConnector(url: string, clock: Clock): RedisConnector {
	return async (onLost) => {
		const { createClient } = await import("redis");
		const client = createClient({
			url,
			disableOfflineQueue: true,
			disableClientInfo: true,
			// Time-outs are the store's, on its own clock.
			commandOptions: { timeout: 0 },
			socket: { reconnectStrategy: false, connectTimeout: CONNECT_TIMEOUT_MS },
		});
		let ready = false;
		const lost = (): void => {
			if (!ready) return;
			ready = false;
			client.destroy();
			onLost("the connection was lost");
		};
		client.on("error", lost);
		client.on("end", lost);
		client.unref();
		// A server that accepts and then says nothing: the kernel does that for one which hangs.
		const timer = clock.setTimer(CONNECT_TIMEOUT_MS, () => client.destroy());
		try {
			await client.connect();
		} catch (thrown) {
			client.destroy();
			throw thrown;
		} finally {
			timer.cancel();
		}
		ready = true;
		return {
			evalSha: (sha1, key, parameters) => client.evalSha(sha1, { keys: [key], arguments: [...parameters] }),
			eval: (script, key, parameters) => client.eval(script, { keys: [key], arguments: [...parameters] }),
			destroy: () => {
				client.destroy();
				lost();
			},
		};
	};
}
