/** What to try in a local mesh that runs: commands that fit its policies, each with what it shows. */
import { readdirSync } from "node:fs";
import { basename, dirname, relative } from "node:path";
import { authorizationMatrix } from "../identity/authorization/matrix.ts";
import type { Snapshot } from "../policy/snapshot.ts";
import type { Mesh, MeshService } from "./up-mesh.ts";

const HOST = "127.0.0.1";
const DEFAULT_NEXUS_PORT = 7400;

export interface Paths {
	readonly logs: string;
	/** What a person types to start our program here. */
	readonly program: string;
}

type Line = readonly [command: string, meaning: string];

/** A service of the mesh file with its policy. */
interface Member extends MeshService {
	readonly policy: Snapshot;
}

/** `policies` by name of the mesh file. */
export function whatToTry(mesh: Mesh, policies: ReadonlyMap<string, Snapshot>, paths: Paths): string {
	const members = mesh.services.flatMap((service): Member[] => {
		const policy = policies.get(service.name);
		return policy === undefined ? [] : [{ ...service, policy }];
	});
	const flag = mesh.nexusPort === DEFAULT_NEXUS_PORT ? "" : ` --url http://${HOST}:${mesh.nexusPort}`;
	const sections: readonly (readonly [title: string, lines: readonly Line[]])[] = [
		["Try in another terminal:", requestLines(mesh, members, flag, paths)],
		["Who may call whom:", identityLines(mesh, members, flag, paths)],
	];
	const width = Math.max(...sections.flatMap(([, lines]) => lines.map(([command]) => command.length)));
	return sections
		.filter(([, lines]) => lines.length > 0)
		.map(([title, lines]) => `${title}\n${lines.map(([command, meaning]) => `  ${command.padEnd(width)}  ${meaning}\n`).join("")}`)
		.join("\n");
}

function requestLines(mesh: Mesh, members: readonly Member[], flag: string, { logs, program }: Paths): readonly Line[] {
	const example =
		members.find(({ ports }) => ports.has("OUTBOUND_PORT") && members.length > 1 && ports.get("INBOUND_PORT") !== portOf(mesh.traffic.url)) ??
		members[0];
	const admin = `${HOST}:${example?.ports.get("ADMIN_PORT")}`;
	return [
		[`curl -i ${mesh.traffic.url}`, "one request through the whole mesh"],
		[`${program} events --follow${flag}`, "what happens, as it happens"],
		[`curl ${admin}/upstreams`, `whom ${example?.name} calls, and how they are`],
		[`${program} tap http://${admin}`, "why each request goes as it goes, live"],
		[`curl '${HOST}:${mesh.nexusPort}/v1/events?limit=3&order=desc'`, "the events as Nexus keeps them"],
		[`edit ${example === undefined ? "" : shownPath(example.policyFile)}`, "acts when saved; with a fault nothing changes"],
		[`tail -f ${logs}/*.log`, "logs and access logs"],
	];
}

/** Nothing where nobody has an identity. */
function identityLines(mesh: Mesh, members: readonly Member[], flag: string, { program }: Paths): readonly Line[] {
	const edge = members.find(({ ports }) => ports.get("INBOUND_PORT") === portOf(mesh.traffic.url));
	if (edge?.policy.identity === undefined) return [];
	const lines: Line[] = [
		[`${program} mtls status http://${HOST}:${edge.ports.get("ADMIN_PORT")}`, "its certificate, and who calls in plain text"],
		[`${program} authz matrix ${policiesText(members)}`, "the rules of all services as a table"],
	];
	const refused = refusedCall(members);
	if (refused !== undefined) {
		const { from, upstream, to } = refused;
		const out = `${HOST}:${from.ports.get("OUTBOUND_PORT")}`;
		lines.push([`curl -i -H 'Host: ${upstream}' ${out}`, `${from.policy.service} may not: 403 unauthorized`]);
		lines.push([`curl ${HOST}:${to.ports.get("ADMIN_PORT")}/failures`, "why not: the decision, for operators alone"]);
	}
	const trying = members.find(({ policy }) => policy.inbound?.authorization?.rules.some(({ dryRun }) => dryRun) === true);
	if (trying !== undefined) {
		lines.push([`curl ${HOST}:${trying.ports.get("ADMIN_PORT")}/authorization/dry-run`, "whom a rule that is only tried would refuse"]);
	}
	const last = members.findLast(({ policy }) => policy.identity?.kind === "nexus");
	if (last !== undefined) {
		lines.push([`${program} ca revoke --identity ${last.policy.service}${flag}`, "cut off within a second; --undo takes it back"]);
	}
	return lines;
}

/** A call that one service can make and another refuses whatever it asks for. */
function refusedCall(members: readonly Member[]): { from: Member; upstream: string; to: Member } | undefined {
	const called = members.filter(({ policy }) => policy.inbound?.authorization !== undefined);
	const { callers, cells } = authorizationMatrix(
		called.map(({ policy }) => ({ ...policy, authorization: policy.inbound?.authorization, strict: policy.inbound?.tls.mode === "strict" })),
		members.map(({ policy }) => idOf(policy)),
	);
	for (const from of members) {
		if (!from.ports.has("OUTBOUND_PORT")) continue;
		const row = cells[callers.indexOf(idOf(from.policy))] ?? [];
		for (const [upstream, { tls }] of from.policy.upstreams) {
			const at = called.findIndex(({ policy }) => tls.kind === "mesh" && tls.expected === idOf(policy));
			const to = called[at];
			if (to !== undefined && row[at]?.access === "none") return { from, upstream, to };
		}
	}
	return undefined;
}

/** A pattern where it fits no other file. */
function policiesText(members: readonly Member[]): string {
	const files = [...new Set(members.map(({ policyFile }) => policyFile))];
	const folder = dirname(files[0] ?? "");
	const beside = readdirSync(folder).filter((name) => name.endsWith(".yaml"));
	const isAll = files.length === beside.length && files.every((file) => dirname(file) === folder && beside.includes(basename(file)));
	return isAll ? `${shownPath(folder)}/*.yaml` : files.map(shownPath).join(" ");
}

function idOf({ trustDomain, service }: Snapshot): string {
	return `spiffe://${trustDomain}/${service}`;
}

function shownPath(path: string): string {
	return relative(process.cwd(), path);
}

function portOf(url: string): number {
	return Number(new URL(url).port);
}
