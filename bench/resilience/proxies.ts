/** Starts the proxy of a setup in front of the mesh, and reads from it how often it has tried again. */
import { writeFile } from "node:fs/promises";
import { askAdmin } from "../admin.ts";
import { envoyCommand, findEnvoy } from "../peers/envoy.ts";
import { launchSidecar } from "../peers/ours.ts";
import { type Child, type Command, freePorts, type Workspace } from "../processes.ts";
import { waitUntil } from "../wait.ts";
import { envoyConfig } from "./envoy-config.ts";
import { nexusPolicy, type Ports } from "./nexus-policy.ts";
import { SERVICE, type Setup } from "./settings.ts";

export interface RunningProxy {
	readonly port: number;
	readonly child: Child;
	/** Second and further tries so far, hedges among them, by its own count. */
	retries(): Promise<number>;
	/** Tries so far that were aimed at each address, refused connections among them, by its own count. */
	tries(): Promise<ReadonlyMap<string, number>>;
}

/** How a proxy is started, asked whether it is ready, and asked for what it has counted. */
interface Way {
	launch(ports: Ports): Promise<Command>;
	readonly readyPath: string;
	readonly statsPath: string;
	retriesOf(stats: string): number;
	readonly endpointsPath: string;
	triesOf(endpoints: string, address: string): number;
}

/** Resolves when it takes traffic. */
export async function startProxy(workspace: Workspace, core: number, setup: Setup, addresses: readonly string[]): Promise<RunningProxy> {
	const [port, adminPort] = await freePorts(2);
	if (port === undefined || adminPort === undefined) throw new Error("no free ports");
	const way = setup.proxy === "nexus" ? nexusWay(workspace, setup, addresses) : envoyWay(workspace, setup, addresses);
	const child = await workspace.start(setup.name, core, await way.launch({ port, adminPort }));
	try {
		await waitUntil(async () => (await askAdmin(adminPort, "GET", way.readyPath)).status === 200, child);
	} catch (thrown) {
		await workspace.stop(child);
		throw thrown;
	}
	const ask = async (path: string) => {
		const { status, body } = await askAdmin(adminPort, "GET", path);
		if (status !== 200) throw new Error(`${setup.name} answered ${path} with ${status}`);
		return body;
	};
	return {
		port,
		child,
		retries: async () => way.retriesOf(await ask(way.statsPath)),
		async tries() {
			const endpoints = await ask(way.endpointsPath);
			return new Map(addresses.map((address) => [address, way.triesOf(endpoints, address)]));
		},
	};
}

function nexusWay(workspace: Workspace, { features }: Setup, addresses: readonly string[]): Way {
	return {
		async launch(ports) {
			const file = workspace.file("nexus.yaml");
			await writeFile(file, nexusPolicy(ports, addresses, features));
			return launchSidecar({ workspace, accessLog: false }, file);
		},
		readyPath: "/readyz",
		statsPath: "/metrics",
		retriesOf: (stats) => sumOf(stats, new RegExp(`^nexus_(?:retries|hedges)_total\\{upstream="${SERVICE}",result="sent"\\} (\\d+)$`, "gm")),
		endpointsPath: "/upstreams",
		triesOf(endpoints, address) {
			const { upstreams } = JSON.parse(endpoints) as { upstreams: { endpoints: { address: string; requests: number }[] }[] };
			const found = upstreams.flatMap((upstream) => upstream.endpoints).find((endpoint) => endpoint.address === address);
			if (found === undefined) throw new Error(`the sidecar does not know ${address}`);
			return found.requests;
		},
	};
}

function envoyWay(workspace: Workspace, { features }: Setup, addresses: readonly string[]): Way {
	return {
		async launch(ports) {
			const program = findEnvoy();
			if (program === undefined) throw new Error("Envoy is not here");
			const file = workspace.file("envoy.json");
			await writeFile(file, envoyConfig(ports, addresses, features));
			return envoyCommand(program, file);
		},
		readyPath: "/ready",
		statsPath: "/stats",
		// A hedge counts as a retry there.
		retriesOf: (stats) => sumOf(stats, new RegExp(`^cluster\\.${SERVICE}\\.upstream_rq_retry: (\\d+)$`, "gm")),
		endpointsPath: "/clusters",
		triesOf: (endpoints, address) =>
			sumOf(endpoints, new RegExp(`^${SERVICE}::${address.replaceAll(".", "\\.")}::(?:rq_total|cx_connect_fail)::(\\d+)$`, "gm")),
	};
}

/** What the first groups of all matches add up to; 0 without any. `pattern` is global. */
export function sumOf(text: string, pattern: RegExp): number {
	let sum = 0;
	for (const [, digits] of text.matchAll(pattern)) sum += Number(digits);
	return sum;
}
