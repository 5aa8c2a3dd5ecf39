/** One connection to a broker: made when it is first needed, made anew after it was lost, closed once. */

export class BrokerLink<Session> {
	readonly #open: (lost: () => void) => Promise<Session>;
	readonly #end: (session: Session) => Promise<void>;
	#current: Promise<Session> | undefined;
	#isClosed = false;

	/** `open` calls `lost` when the session cannot be used any more; `end` frees what is left of it and never rejects. */
	constructor(open: (lost: () => void) => Promise<Session>, end: (session: Session) => Promise<void>) {
		this.#open = open;
		this.#end = end;
	}

	/** Rejects with what `open` rejects with; the next call tries again. */
	get(): Promise<Session> {
		if (this.#isClosed) return Promise.reject(new Error("the log is closed"));
		if (this.#current !== undefined) return this.#current;
		const lost = (): void => this.#forget(opened);
		const opened: Promise<Session> = this.#open(lost);
		this.#current = opened;
		opened.catch(() => this.#forget(opened));
		return opened;
	}

	/** For a session that does not answer. */
	drop(): void {
		if (this.#current !== undefined) this.#forget(this.#current);
	}

	async close(): Promise<void> {
		this.#isClosed = true;
		const current = this.#current;
		this.#current = undefined;
		if (current !== undefined) await current.then(this.#end, () => {});
	}

	#forget(session: Promise<Session>): void {
		if (this.#current !== session) return;
		this.#current = undefined;
		session.then(this.#end, () => {});
	}
}
