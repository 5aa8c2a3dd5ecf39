/**
 * Requests of the application that were tried again in vain, by request id: when its own caller gets an error because of them, the
 * answer is marked, so that the caller's sidecar does not multiply the tries, although the application knows nothing of the mark.
 */

// Ids of the last failures; a failure answers its caller within seconds, or nobody waits for it any more.
const REMEMBERED_MAX = 1024;

export class VainRetries {
	readonly #ids = new Set<string>();

	add(requestId: string): void {
		if (requestId === "" || this.#ids.has(requestId)) return;
		this.#ids.add(requestId);
		if (this.#ids.size <= REMEMBERED_MAX) return;
		for (const oldest of this.#ids) {
			this.#ids.delete(oldest);
			break;
		}
	}

	has(requestId: string): boolean {
		return this.#ids.size > 0 && this.#ids.has(requestId);
	}
}
