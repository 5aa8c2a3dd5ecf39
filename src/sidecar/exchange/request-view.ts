/** The request as rules, limits and faults ask about it. Its fields are there while its head is; later only where somebody will ask later. */
import { isAlias } from "../../http1/fields.ts";
import type { RequestParser } from "../../http1/request-parser.ts";
import type { AuthorizationSubject } from "../../identity/authorization/subject.ts";
import type { LimitSubject } from "../../limits/limit-key.ts";
import { pathOf } from "../../policy/path-normal.ts";
import type { Client } from "./stack.ts";

const NOTHING_KEPT: ReadonlyMap<string, string[]> = new Map();

export class RequestView implements LimitSubject, AuthorizationSubject {
	method = "";
	#target = "";
	#request: RequestParser | undefined;
	#client: Client | undefined;
	#route = "";
	/** Values by name in lower case, a line each. */
	#kept: Map<string, string[]> | undefined;

	/** Valid until `close`. */
	open(request: RequestParser, client: Client): void {
		this.method = request.method;
		this.#target = request.target;
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
			const lines = this.#kept.get(name);
			if (lines === undefined) this.#kept.set(name, [fields.value(i)]);
			else lines.push(fields.value(i));
		}
	}

	/** What was kept is not held on to: it may be a secret. */
	forget(): void {
		this.#kept = undefined;
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

	get path(): string {
		return pathOf(this.#target);
	}

	get port(): number {
		return this.#client?.port ?? 0;
	}

	/** All lines of it, joined. `name` in lower case. */
	header(name: string): string | undefined {
		return this.#request === undefined ? this.#kept?.get(name)?.join(", ") : this.#request.fields.get(name);
	}

	headerLine(name: string, index: number): string | undefined {
		return this.#request === undefined ? this.#kept?.get(name)?.[index] : this.#request.fields.line(name, index);
	}
	aliasLine(name: string, index: number): string | undefined {
		if (this.#request !== undefined) return this.#request.fields.aliasLine(name, index);
		let left = index;
		for (const [own, lines] of this.#kept ?? NOTHING_KEPT) {
			if (!isAlias(own, name)) continue;
			if (left < lines.length) return lines[left];
			left -= lines.length;
		}
		return undefined;
	}
}
