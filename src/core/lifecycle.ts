/** Ordered clean-up: what was opened last is closed first, every closer runs, all failures are told. */

export class Lifecycle {
	#closers: { name: string; close: () => void | Promise<void> }[] = [];
	#closing: Promise<Error[]> | undefined;

	/** Registers at creation what must be undone. */
	onClose(name: string, close: () => void | Promise<void>): void {
		this.#closers.push({ name, close });
	}

	/** Runs once however often it is called; resolves with what failed (empty when all went well). */
	close(): Promise<Error[]> {
		// In a later turn: a closer that closes the whole finds this promise, not the beginning of a second run.
		this.#closing ??= Promise.resolve().then(() => this.#run());
		return this.#closing;
	}

	async #run(): Promise<Error[]> {
		const failures: Error[] = [];
		for (const { name, close } of this.#closers.reverse()) {
			try {
				await close();
			} catch (cause) {
				failures.push(new Error(`closing ${name} failed`, { cause }));
			}
		}
		return failures;
	}
}
