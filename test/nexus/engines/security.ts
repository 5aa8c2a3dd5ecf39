/** What holds for every engine that is reached over TLS and with a login: one suite, run on the real server of each. */
import assert from "node:assert/strict";
import { copyFileSync, readFileSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { inspect } from "node:util";
import { systemClock } from "../../../src/core/clock.ts";
import type { Logger } from "../../../src/core/log.ts";
import { systemRng } from "../../../src/core/rng.ts";
import { loadNexusConfig } from "../../../src/nexus/config/config.ts";
import { logConfig } from "../../../src/nexus/engines/engines.ts";
import { openLog } from "../../../src/nexus/log/open-log.ts";
import { openState } from "../../../src/nexus/state/open-state.ts";
import { put } from "../../../src/nexus/state/state-store.ts";
import { eventually } from "../../support/processes.ts";
import { batchOf, readAll } from "../support.ts";
import { NEXT_PASSWORD, PASSWORD, Papers, SECRETS, SERVER_NAME } from "./papers.ts";

export interface Secured {
	/** It lets in nobody without a certificate of its authority, nor without the login. */
	readonly port: number;
	/** Where it, or another of its kind, speaks plain text. */
	readonly plainPort: number;
	/** Further things that are refused, of this one. */
	readonly refused?: readonly RefusedCase[];
	kill(): Promise<void>;
	/** With the certificate and the authority of clients of these names, and that password. */
	start(files: ServerFiles): Promise<void>;
}

export interface ServerFiles {
	readonly server: string;
	readonly ca: string;
	readonly password: string;
}

/** As the configuration says it; text of YAML. */
export interface Reaching {
	readonly host: string;
	readonly port: number;
	/** Of the file that it stands in. */
	readonly password: string;
	/** A mapping; undefined: nothing is said. */
	readonly tls: string | undefined;
}

export type RefusedCase = readonly [what: string, reaching: Partial<Reaching>, said: RegExp];

export interface SecurityOptions {
	readonly skip: string | false;
	/** Started with FIRST; ended with the test. */
	make(t: TestContext, papers: Papers): Promise<Secured>;
	/** The part `log`, or with `isState` the part `state`, of a configuration. */
	config(reaching: Reaching): string;
	readonly isState?: boolean;
	/** What it says on its plain port where TLS is wanted. */
	readonly plain: RegExp;
	/** Other ways to be let in, by name. */
	readonly others?: Readonly<Record<string, (reaching: Reaching) => string>>;
	/** Further things that are refused, each with what is said of it. */
	readonly refused?: readonly RefusedCase[];
}

export const TLS = "{ ca: ca.crt, cert: client.crt, key: client.key }";
export const FIRST: ServerFiles = { server: "server", ca: "ca.crt", password: PASSWORD };
/** What the server says of a certificate may be lost with the connection; then it is said what may be the cause. */
const NOT_ACCEPTED =
	/TLS failed \(tls_(no_client_cert|refused_by_peer|bad_certificate|no_shared_cipher)\)|which may not accept our certificate, want one|requires a valid client certificate/;
/** A JVM on a busy machine. */
const TEST_MS = 240_000;

/** Something that is kept there: an event or a value. */
interface Opened {
	/** What went wrong, in words; undefined: it is kept. */
	put(id: string): Promise<string | undefined>;
	ids(): Promise<string[]>;
}

export function engineSecurity(name: string, options: SecurityOptions): void {
	const { skip, make, config, isState = false } = options;

	test(`${name}: TLS and login`, { skip, timeout: TEST_MS }, async (t) => {
		const papers = await Papers.make(t);
		const secured = await make(t, papers);
		const usual: Reaching = { host: "localhost", port: secured.port, password: "password", tls: TLS };
		const said: string[] = [];
		const openAs = (yaml: string): Promise<Opened> => opened(t, papers, yaml, isState, said);
		const open = (reaching: Partial<Reaching>): Promise<Opened> => openAs(config({ ...usual, ...reaching }));
		const engine = await open({});

		await t.test("what is configured is let in, and what it keeps is read back", async () => {
			assert.equal(await engine.put("1"), undefined);
			assert.deepEqual(await engine.ids(), ["1"]);
		});

		const refused: RefusedCase[] = [
			["a wrong password", { password: "wrong" }, /the login was refused: /],
			["a password that cannot be read", { password: "nowhere" }, /a secret cannot be read: ENOENT.*nowhere/],
			["an authority that is not known here", { tls: TLS.replace("ca.crt", "other-ca.crt") }, /TLS failed \(tls_unknown_ca\): /],
			["a name that is not in the certificate", { host: "127.0.0.1" }, /TLS failed \(tls_san_mismatch\): .*broker\.test, and not 127\.0\.0\.1/],
			["a client without a certificate", { tls: "{ ca: ca.crt }" }, NOT_ACCEPTED],
			["a certificate of somebody else", { tls: TLS.replaceAll("client", "stranger") }, NOT_ACCEPTED],
			["a server that speaks plain text", { port: secured.plainPort }, options.plain],
			["a certificate that is not there", { tls: TLS.replace("client.crt", "none.crt") }, /TLS cannot be used: ENOENT.*none\.crt/],
			["a key of another certificate", { tls: TLS.replace("client.key", "stranger.key") }, /TLS cannot be used: .*client\.crt.*key values mismatch/],
			["roots that are none", { tls: TLS.replace("ca.crt", "client.key") }, /TLS cannot be used: .*client\.key holds no roots/],
			...(options.refused ?? []),
			...(secured.refused ?? []),
		];
		await t.test("in words that show no secret it refuses", { concurrency: true }, async (t) => {
			const cases = refused.map(([what, reaching, words]) =>
				t.test(what, async () => {
					const thrown = await open(reaching).then(
						() => assert.fail("it was opened"),
						(error: unknown) => error,
					);
					assert.ok(thrown instanceof Error);
					assert.match(thrown.message, words);
					assert.doesNotMatch(inspect(thrown, { depth: 10 }), SECRETS);
				}),
			);
			await Promise.all(cases);
		});

		await t.test("a server at an address is known by the name that it is said to have", async () => {
			const named = await open({ host: "127.0.0.1", tls: TLS.replace("}", `, serverName: ${SERVER_NAME} }`) });
			assert.deepEqual(await named.ids(), ["1"]);
		});

		for (const [way, configOf] of Object.entries(options.others ?? {})) {
			await t.test(`${way} lets in as well`, async () => {
				assert.deepEqual(await (await openAs(configOf(usual))).ids(), ["1"]);
			});
		}

		await t.test("what has changed while the server was away is read for the next connection, without a restart", async () => {
			await secured.kill();
			await secured.start({ server: "next-server", ca: "other-ca.crt", password: NEXT_PASSWORD });
			const fails = (words: RegExp) => eventually(`it is said: ${words}`, async () => words.test((await engine.put("2")) ?? ""));
			await fails(/tls_unknown_ca/);
			copyFileSync(papers.path("other-ca.crt"), papers.path("ca.crt"));
			for (const end of [".crt", ".key"]) copyFileSync(papers.path(`next-client${end}`), papers.path(`client${end}`));
			await fails(/the login was refused/);
			papers.write("password", NEXT_PASSWORD);
			await eventually("it is kept", async () => (await engine.put("2")) === undefined);
			assert.deepEqual(await engine.ids(), ["1", "2"]);
		});

		assert.doesNotMatch(said.join("\n"), SECRETS);
	});
}

/** Rejects with what the start of Nexus would say. Closed with the test. */
async function opened(t: TestContext, papers: Papers, yaml: string, isState: boolean, said: string[]): Promise<Opened> {
	const loaded = loadNexusConfig(yaml, papers.path("nexus.yaml"), {});
	assert.ok(loaded.ok, JSON.stringify(loaded));
	assert.doesNotMatch(`${inspect(loaded.config, { depth: 9, showHidden: true })}${JSON.stringify(loaded.config)}`, SECRETS);
	const { log: choice, state, dataDir } = loaded.config;
	if (isState) {
		assert.ok(state.engine === "postgres");
		const outcome = await openState({ ...state, clock: systemClock, rng: systemRng });
		if (!outcome.ok) throw new Error(outcome.detail);
		const { store } = outcome;
		t.after(() => store.close());
		return {
			async put(id) {
				const made = await store.commit([put("things", id, {}, 0)]);
				return made.ok || made.failure === "conflict" ? undefined : made.detail;
			},
			async ids() {
				const found = await store.list("things");
				assert.ok(found.ok);
				return found.value.entries.map(({ key }) => key);
			},
		};
	}
	const tell = (message: string, fields?: object): void => void said.push(message, inspect(fields, { depth: 9 }));
	const logger: Logger = { debug: tell, info: tell, warn: tell, error: tell };
	const { log } = await openLog(logConfig(choice, dataDir), { clock: systemClock, log: logger });
	t.after(() => log.close());
	return {
		async put(id) {
			const outcome = await log.append(batchOf([{ id }]));
			return outcome.ok ? undefined : outcome.detail;
		},
		async ids() {
			return (await readAll(log)).map(({ json }) => (JSON.parse(json.toString()) as { id: string }).id);
		},
	};
}

export function pageOf(name: string): string {
	return readFileSync(fileURLToPath(new URL(`../../../docs/${name}.md`, import.meta.url)), "utf8");
}
