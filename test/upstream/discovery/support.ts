/** Watches what a source tells, one thing after the other. */
import type { TestContext } from "node:test";
import { addressText } from "../../../src/policy/address-text.ts";
import type { EndpointSource } from "../../../src/upstream/endpoint-source.ts";

/** Starts `source`. `next()` resolves with what it tells next: `host:port*weight ...`, or `fault: ...`. */
export function follow(t: TestContext, source: EndpointSource) {
	const told: string[] = [];
	const waiting: ((what: string) => void)[] = [];
	const tell = (what: string): void => {
		const reader = waiting.shift();
		if (reader === undefined) told.push(what);
		else reader(what);
	};
	t.after(() => source.stop());
	source.start(
		(endpoints) =>
			tell(endpoints.map(({ address, weight, zone }) => `${addressText(address)}*${weight}${zone === undefined ? "" : `@${zone}`}`).join(" ")),
		(fault) => tell(`fault: ${fault}`),
	);
	return {
		/** Told, but not asked for yet. */
		told,
		next: (): Promise<string> => {
			const what = told.shift();
			return what === undefined ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve(what);
		},
	};
}

/** Outstanding callbacks of the loop have run. */
export async function breath(): Promise<undefined> {
	for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
	return undefined;
}
