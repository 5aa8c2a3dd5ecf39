/** Keeps the identity state in one file of mode 0600: changed one after the other, and in effect once it is on disk. */
import { readFile } from "node:fs/promises";
import { codeOf, messageOf } from "../../core/errors.ts";
import { writeSecretFile } from "../../core/secret-file.ts";
import { EMPTY_STATE, type IdentityState, parseIdentityState } from "./identity-state.ts";

/** What a change comes to: the next state, or why there is none. The same state means that nothing is to be written. */
export type Change<F> = (state: IdentityState) => IdentityState | F;

/** `not_kept`: the disk has refused it, and all is as before. */
export interface NotKept {
	readonly fault: "not_kept";
	readonly words: string;
}

export class StateFile {
	readonly #path: string;
	readonly #write: (path: string, text: string) => Promise<void>;
	#state: IdentityState;
	#last: Promise<unknown> = Promise.resolve();

	private constructor(path: string, state: IdentityState, write: (path: string, text: string) => Promise<void>) {
		this.#path = path;
		this.#state = state;
		this.#write = write;
	}

	/** A file that is not there is an empty state; one that cannot be understood throws, as what it denied would be allowed again. */
	static async open(path: string, write = writeSecretFile): Promise<StateFile> {
		let text: string;
		try {
			text = await readFile(path, "utf8");
		} catch (thrown) {
			if (codeOf(thrown) !== "ENOENT") throw thrown;
			return new StateFile(path, EMPTY_STATE, write);
		}
		const state = parseIdentityState(text);
		if (typeof state === "string") {
			throw new Error(
				`${path} cannot be used: ${state}; tokens, deny lists and rotations stand there: restore it, or start without it by removing it`,
			);
		}
		return new StateFile(path, state, write);
	}

	/** As it is on disk. */
	get current(): IdentityState {
		return this.#state;
	}

	/** Resolves with undefined once it is durable. `change` sees all changes before it, runs once, and must not throw for expected outcomes. */
	change<F extends { readonly fault: string }>(change: Change<F>): Promise<F | NotKept | undefined> {
		const done = this.#last.then(() => this.#apply(change));
		this.#last = done.catch(() => {});
		return done;
	}

	/** Resolves once what was asked for before is on disk, or has failed. */
	async settled(): Promise<void> {
		await this.#last;
	}

	async #apply<F extends { readonly fault: string }>(change: Change<F>): Promise<F | NotKept | undefined> {
		const next = change(this.#state);
		if ("fault" in next) return next;
		if (next === this.#state) return undefined;
		try {
			await this.#write(this.#path, `${JSON.stringify(next)}\n`);
		} catch (thrown) {
			return { fault: "not_kept", words: `the state of identities cannot be written: ${messageOf(thrown)}` };
		}
		this.#state = next;
		return undefined;
	}
}
