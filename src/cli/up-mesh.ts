/** What belongs to a local mesh (mesh.json), which ports it gets, and what each process finds in its environment. */
import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { dirname, join, resolve } from "node:path";
import { z } from "zod";
import { codeOf, messageOf } from "../core/errors.ts";

// A laptop's worth: each service is two processes of some 60 MB.
const SERVICES_MAX = 50;
const HOST = "127.0.0.1";
// Where a wanted port is taken: below 32768, from where on Linux gives ports to whoever asks for any.
const OTHER_PORTS_MIN = 20_000;
const OTHER_PORTS_SPAN = 12_000;
const OTHER_PORTS_STEP = 997;
const OTHER_PORTS_MAX = 100;

const port = z.int().min(1).max(65_535);
const meshSchema = z.strictObject({
	nexus: z.strictObject({ port }),
	/** A little load from outside, so that there is something to see. */
	traffic: z.strictObject({ to: z.string(), path: z.string().startsWith("/"), requestsPerSecond: z.number().min(0).max(1000) }),
	services: z
		.array(
			z.strictObject({
				name: z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/),
				/** Relative to this file. */
				policy: z.string(),
				/** Started in the folder of this file; "node" is the Node that runs the mesh. */
				command: z.array(z.string()).min(1),
				env: z.record(z.string(), z.string()).default({}),
				/** Preferred ports by the variable that hands them over; APP_PORT and ADMIN_PORT are needed. */
				ports: z.record(z.string().regex(/^[A-Z][A-Z0-9_]*$/), port),
			}),
		)
		.min(1)
		.max(SERVICES_MAX),
});
type MeshConfig = z.output<typeof meshSchema>;

export interface MeshService {
	readonly name: string;
	/** Absolute. */
	readonly policyFile: string;
	readonly command: readonly string[];
	/** For the service and its sidecar alike: its own ports, and those of all others as NAME_PORT (PAYMENTS_1_INBOUND_PORT). */
	readonly env: NodeJS.ProcessEnv;
	/** What the sidecar has besides: JOIN_TOKEN_FILE, for a policy with `identity.nexus`. */
	readonly sidecarEnv: NodeJS.ProcessEnv;
	/** Absolute; there is a token in it once Nexus is up and the policy wants one. */
	readonly joinTokenFile: string;
	/** By variable. */
	readonly ports: ReadonlyMap<string, number>;
}

export interface Mesh {
	readonly directory: string;
	readonly nexusPort: number;
	readonly traffic: { readonly url: string; readonly requestsPerSecond: number };
	readonly services: readonly MeshService[];
	/** Ports that were taken: what was asked for and what it became. */
	readonly moved: readonly { readonly wanted: number; readonly given: number; readonly what: string }[];
}

export type MeshResult = { readonly ok: true; readonly mesh: Mesh } | { readonly ok: false; readonly message: string };

/** Reads the file and finds free ports. `tokenFolder`: where join tokens are to stand. Never rejects. */
export async function readMesh(file: string, tokenFolder: string): Promise<MeshResult> {
	let config: MeshConfig;
	try {
		const parsed = meshSchema.safeParse(JSON.parse(await readFile(file, "utf8")));
		if (!parsed.success) return { ok: false, message: `${file}: ${z.prettifyError(parsed.error)}` };
		config = parsed.data;
	} catch (error) {
		return { ok: false, message: `${file}: ${messageOf(error)}` };
	}
	const wrong = contradictionIn(config);
	if (wrong !== undefined) return { ok: false, message: `${file}: ${wrong}` };
	try {
		return { ok: true, mesh: assemble(file, config, await choosePorts(config), tokenFolder) };
	} catch (error) {
		return { ok: false, message: `no free ports on ${HOST}: ${messageOf(error)}` };
	}
}

function contradictionIn({ services, traffic }: MeshConfig): string | undefined {
	const names = new Set<string>();
	for (const { name, ports } of services) {
		if (names.has(name)) return `two services are called ${name}`;
		names.add(name);
		for (const needed of ["APP_PORT", "ADMIN_PORT"]) if (!(needed in ports)) return `services.${name}.ports has no ${needed}`;
	}
	const target = services.find(({ name }) => name === traffic.to);
	if (target === undefined) return `traffic.to names ${traffic.to}, which is no service`;
	return "INBOUND_PORT" in target.ports ? undefined : `traffic.to names ${traffic.to}, which has no INBOUND_PORT`;
}

interface PortChoice {
	readonly what: string;
	readonly wanted: number;
	readonly given: number;
}

/** All are held until all are chosen, so that no two get the same. */
async function choosePorts({ nexus, services }: MeshConfig): Promise<ReadonlyMap<string, PortChoice>> {
	const wanted: [what: string, port: number][] = [["NEXUS_PORT", nexus.port]];
	for (const { name, ports } of services) for (const [variable, port] of Object.entries(ports)) wanted.push([globalName(name, variable), port]);
	const held: Server[] = [];
	try {
		const choices = new Map<string, PortChoice>();
		for (const [what, port] of wanted) {
			const server = (await hold(port)) ?? (await holdOther(port)) ?? (await hold(0));
			if (server === undefined) throw new Error("the system gives none");
			held.push(server);
			const address = server.address();
			choices.set(what, { what, wanted: port, given: typeof address === "object" && address !== null ? address.port : port });
		}
		return choices;
	} finally {
		await Promise.all(held.map((server) => new Promise((closed) => server.close(closed))));
	}
}

/** None that the system hands out to others between now and the start of who is to listen there, nor that another mesh tries first. */
async function holdOther(taken: number): Promise<Server | undefined> {
	for (let tries = 1; tries <= OTHER_PORTS_MAX; tries++) {
		const port = OTHER_PORTS_MIN + ((taken + process.pid + tries * OTHER_PORTS_STEP) % OTHER_PORTS_SPAN);
		const server = await hold(port);
		if (server !== undefined) return server;
	}
	return undefined;
}

/** undefined where the port is taken, or not ours to take. */
function hold(port: number): Promise<Server | undefined> {
	return new Promise((resolve, reject) => {
		const server = createServer();
		server.once("error", (error) => {
			if (codeOf(error) === "EADDRINUSE" || codeOf(error) === "EACCES") resolve(undefined);
			else reject(error);
		});
		server.listen(port, HOST, () => resolve(server));
	});
}

function assemble(file: string, config: MeshConfig, choices: ReadonlyMap<string, PortChoice>, tokenFolder: string): Mesh {
	const directory = dirname(resolve(file));
	const given = (what: string): number => choices.get(what)?.given ?? 0;
	const everywhere = Object.fromEntries([...choices.values()].map((choice) => [choice.what, String(choice.given)]));
	const services = config.services.map(({ name, policy, command, env, ports }): MeshService => {
		const own = new Map(Object.keys(ports).map((variable) => [variable, given(globalName(name, variable))]));
		const ownText = Object.fromEntries([...own].map(([variable, port]) => [variable, String(port)]));
		const joinTokenFile = join(tokenFolder, `${name}.token`);
		const environment = { ...process.env, ...everywhere, NEXUS_INSTANCE: name, ...env, ...ownText };
		return {
			name,
			policyFile: join(directory, policy),
			command: command[0] === "node" ? [process.execPath, ...command.slice(1)] : command,
			env: environment,
			sidecarEnv: { ...environment, JOIN_TOKEN_FILE: joinTokenFile },
			joinTokenFile,
			ports: own,
		};
	});
	const { to, path, requestsPerSecond } = config.traffic;
	return {
		directory,
		nexusPort: given("NEXUS_PORT"),
		traffic: { url: `http://${HOST}:${given(globalName(to, "INBOUND_PORT"))}${path}`, requestsPerSecond },
		services,
		moved: [...choices.values()].filter((choice) => choice.wanted !== choice.given),
	};
}

function globalName(service: string, variable: string): string {
	return `${service.toUpperCase().replaceAll("-", "_")}_${variable}`;
}
