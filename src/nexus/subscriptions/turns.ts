/** Whoever changes something of a name is behind whoever does already. */
import { messageOf } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";

export class Turns {
	readonly #logger: Logger;
	readonly #last = new Map<string, Promise<unknown>>();

	constructor(logger: Logger) {
		this.#logger = logger;
	}

	take<T>(name: string, act: () => Promise<T>): Promise<T> {
		const before = this.#last.get(name) ?? Promise.resolve();
		const turn = before.then(act);
		const settled = turn.then(
			() => {},
			(thrown: unknown) => this.#logger.error("a subscription could not be changed", { subscription: name, error: messageOf(thrown) }),
		);
		this.#last.set(name, settled);
		void settled.then(() => {
			if (this.#last.get(name) === settled) this.#last.delete(name);
		});
		return turn;
	}

	/** Those that are under way or wait have ended. */
	async over(has: (name: string) => boolean): Promise<void> {
		await Promise.all([...this.#last].map(([name, settled]) => (has(name) ? settled : undefined)));
	}
}
