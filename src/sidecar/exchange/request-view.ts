/** The request as limits and faults ask about it. Its fields are there while its head is; later only where somebody will ask later. */
import type { RequestParser } from "../../http1/request-parser.ts";
import type { LimitSubject } from "../../limits/limit-key.ts";
import type { Client } from "./stack.ts";

export class RequestView implements LimitSubject {
	#request: RequestParser | undefined;
	#client: Client | undefined;
	#route = "";
	#kept: Map<string, string> | undefined;

	/** Valid until `close`. */
	open(request: RequestParser, client: Client): void {
		this.#request = request;
		this.#client = client;
		this.#kept = undefined;
	}

	/** The parser goes on to the next request. `keep`: somebody will ask for fields after that. */
	close(keep: boolean): void {
		const { fields } = this.#request as RequestParser;
		this.#request = undefined;
		if (!keep) return;
		this.#kept = new Map();
		for (let i = 0; i < fields.count; i++) {
			const name = fields.name(i).toLowerCase();
			const before = this.#kept.get(name);
			this.#kept.set(name, before === undefined ? fields.value(i) : `${before}, ${fields.value(i)}`);
		}
	}

	subject(route: string): this {
		this.#route = route;
		return this;
	}

	/** Its identity. Without mutual TLS nobody has proved who it is: the address is all that is known. */
	caller(): string {
		return this.#client?.caller || this.ip();
	}

	ip(): string {
		return this.#client?.address ?? "";
	}

	route(): string {
		return this.#route;
	}

	/** `name` in lower case. */
	header(name: string): string | undefined {
		return this.#request === undefined ? this.#kept?.get(name) : this.#request.fields.get(name);
	}
}
