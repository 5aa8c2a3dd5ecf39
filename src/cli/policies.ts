/** `nexus policies list`, `show`, `put`, `status` and `rollback`: the policies that Nexus has for services. */

import { errorOf } from "../client/nexus-error.ts";
import { formatFaults, type PolicyFault } from "../policy/load.ts";
import { readTextFile } from "../policy/load-file.ts";
import { withApi } from "./ca.ts";
import type { CliIo } from "./io.ts";
import { type NexusApi, type NexusFlags, NexusRefusal } from "./nexus-api.ts";
import { shortTime, shown, tableText } from "./table.ts";

const TIMEOUT_MS = 10_000;
const BAD_POLICY = 422;

interface RolloutView {
	readonly version: number;
	readonly from: number;
	readonly stage: string;
	readonly stages: readonly string[];
	readonly instances: readonly string[];
}

interface PolicyView {
	readonly service: string;
	readonly current: number;
	readonly latest: number;
	readonly instances: number;
	readonly upToDate: number;
	readonly rollout: RolloutView | null;
}

interface VersionView {
	readonly version: number;
	readonly hash: string;
	readonly author: string;
	readonly reason: string;
	readonly createdAt: string;
	readonly restores: number | null;
}

interface StatusView {
	readonly service: string;
	readonly current: number;
	readonly latest: number;
	readonly rollout: RolloutView | null;
	readonly lastRollout: { readonly version: number; readonly state: string; readonly reason: string; readonly at: string } | null;
	readonly instances: readonly {
		readonly instance: string;
		readonly version: number;
		readonly since: string | null;
		readonly wanted: number;
		readonly state: string;
		readonly rejected: { readonly version: number; readonly faults: readonly FaultView[] } | null;
	}[];
}

interface FaultView {
	readonly place: string;
	readonly message: string;
	readonly hint: string;
}

interface PlacedFault extends FaultView {
	readonly line: number;
	readonly column: number;
	readonly width: number;
	readonly path: string;
}

interface PutView {
	readonly service: string;
	readonly version: number;
	readonly changed: boolean;
	readonly rollout: "staged" | "at-once" | "none";
}

export interface PolicyFlags extends NexusFlags {
	readonly json?: boolean;
}

export function runPoliciesList(flags: PolicyFlags, io: CliIo): Promise<number> {
	return withApi("policies list", flags, io, async (api) => {
		const answer = await api.json<{ policies: readonly PolicyView[] }>("/v1/policies");
		if (isJson(flags, io)) io.stdout.write(`${JSON.stringify(answer)}\n`);
		else if (answer.policies.length === 0) io.stdout.write("Nexus has no policy; `nexus policies put SERVICE FILE` gives it one\n");
		else {
			const rows = answer.policies.map(({ service, current, instances, upToDate, rollout }) => [
				service,
				String(current),
				`${upToDate} of ${instances}`,
				rollout === null ? "-" : `${rollout.version} to ${rollout.stage}`,
			]);
			io.stdout.write(tableText(["SERVICE", "VERSION", "INSTANCES", "ROLL-OUT"], rows));
		}
		return 0;
	});
}

export interface ShowFlags extends PolicyFlags {
	readonly version?: number;
	/** The versions instead of the text. */
	readonly history?: boolean;
}

/** The text alone, so that it can go to a file and come back changed. */
export function runPoliciesShow(service: string, { version, history, ...flags }: ShowFlags, io: CliIo): Promise<number> {
	return withApi("policies show", flags, io, async (api) => {
		const path = `/v1/policies/${encodeURIComponent(service)}`;
		if (history === true) return showHistory(api, path, flags, io);
		const policy = await api.json<VersionView & { policy: string }>(version === undefined ? path : `${path}/versions/${version}`);
		io.stdout.write(flags.json === true ? `${JSON.stringify(policy)}\n` : policy.policy);
		return 0;
	});
}

export interface PutFlags extends PolicyFlags {
	readonly reason?: string;
	/** The version that is expected to be the latest. */
	readonly ifVersion?: number;
	readonly atOnce?: boolean;
	/** Comma between: `1,10%,all`. */
	readonly stages?: string;
	readonly hold?: string;
	readonly patience?: string;
	readonly requests?: number;
}

export function runPoliciesPut(service: string, file: string, flags: PutFlags, io: CliIo): Promise<number> {
	return withApi("policies put", flags, io, async (api) => {
		const read = await readTextFile(file);
		if (!("text" in read)) throw new NexusRefusal(`${file}: ${read.message}`, 0, "");
		const match: Record<string, string> = flags.ifVersion === undefined ? {} : { "if-match": `"${flags.ifVersion}"` };
		const response = await api.send(`/v1/policies/${encodeURIComponent(service)}`, {
			method: "PUT",
			headers: { "content-type": "application/json", ...match },
			body: JSON.stringify({ policy: read.text, reason: flags.reason, rollout: rolloutOf(flags) }),
			signal: AbortSignal.timeout(TIMEOUT_MS),
		});
		if (response.status === BAD_POLICY) {
			const { faults } = (await response.json()) as { faults: readonly PlacedFault[] };
			io.stderr.write(
				`${formatFaults(
					faults.map((fault) => faultOf(fault, file)),
					read.text,
					{ color: io.colour },
				)}\nnothing has changed\n`,
			);
			return 1;
		}
		if (!response.ok) throw await errorOf(response);
		const answer = (await response.json()) as PutView;
		io.stdout.write(isJson(flags, io) ? `${JSON.stringify(answer)}\n` : `${putText(answer)}\n`);
		return 0;
	});
}

export function runPoliciesStatus(service: string, flags: PolicyFlags, io: CliIo): Promise<number> {
	return withApi("policies status", flags, io, async (api) => {
		const status = await api.json<StatusView>(`/v1/policies/${encodeURIComponent(service)}/status`);
		io.stdout.write(isJson(flags, io) ? `${JSON.stringify(status)}\n` : statusText(status));
		return 0;
	});
}

export interface RollbackFlags extends PolicyFlags {
	readonly to?: number;
	readonly reason?: string;
}

export function runPoliciesRollback(service: string, { to, reason, ...flags }: RollbackFlags, io: CliIo): Promise<number> {
	return withApi("policies rollback", flags, io, async (api) => {
		const answer = await api.json<PutView>(`/v1/policies/${encodeURIComponent(service)}/rollback`, { method: "POST", body: { to, reason } });
		const text = answer.changed
			? `${answer.service}: version ${answer.version} has the earlier text, for all instances`
			: `${answer.service}: the roll-out is ended, version ${answer.version} for all instances`;
		io.stdout.write(isJson(flags, io) ? `${JSON.stringify(answer)}\n` : `${text}\n`);
		return 0;
	});
}

async function showHistory(api: NexusApi, path: string, flags: PolicyFlags, io: CliIo): Promise<number> {
	const answer = await api.json<{ current: number; versions: readonly VersionView[] }>(`${path}/versions`);
	if (isJson(flags, io)) io.stdout.write(`${JSON.stringify(answer)}\n`);
	else {
		const rows = answer.versions.map(({ version, createdAt, author, reason, restores }) => [
			`${version}${version === answer.current ? " *" : ""}`,
			shortTime(createdAt),
			author,
			restores === null ? reason : `${reason === "" ? "" : `${reason} `}(as ${restores})`,
		]);
		io.stdout.write(tableText(["VERSION", "PUT (UTC)", "BY", "WHY"], rows));
	}
	return 0;
}

function rolloutOf({ atOnce, stages, hold, patience, requests }: PutFlags): unknown {
	if (atOnce === true) return "at-once";
	if (stages === undefined && hold === undefined && patience === undefined && requests === undefined) return "staged";
	return { stages: stages?.split(",").map((stage) => stage.trim()), hold, patience, requests };
}

function putText({ service, version, changed, rollout }: PutView): string {
	if (!changed) return `${service}: this text is in force already, as version ${version}`;
	if (rollout === "at-once") return `${service}: version ${version}, for all instances at once`;
	return `${service}: version ${version}, to the first instance; \`nexus policies status ${service}\` shows how it goes on`;
}

function statusText({ service, current, rollout, lastRollout, instances }: StatusView): string {
	const lines = [`${service}: version ${current} is in force`];
	if (rollout !== null) {
		const where = rollout.instances.length === 0 ? "" : ` (${rollout.instances.join(", ")})`;
		lines.push(`version ${rollout.version} is being rolled out: ${rollout.stage}${where}, of ${rollout.stages.join(", ")}`);
	}
	if (lastRollout !== null)
		lines.push(
			`version ${lastRollout.version} was ${lastRollout.state === "completed" ? "rolled out" : "taken back"} at ${shortTime(lastRollout.at)} UTC: ${shown(lastRollout.reason)}`,
		);
	if (instances.length === 0) return `${lines.join("\n")}\nno instance takes it from here; \`policy: { source: nexus }\` makes it do so\n`;
	const rows = instances.map(({ instance, version, since, state }) => [
		instance,
		version === 0 ? "own file" : String(version),
		shortTime(since),
		state,
	]);
	const refusals = instances.flatMap(({ instance, rejected }) =>
		(rejected?.faults ?? []).map(({ place, message, hint }) => `${instance} refuses ${place}: ${message}${hint === "" ? "" : ` (${hint})`}`),
	);
	return `${lines.join("\n")}\n\n${tableText(["INSTANCE", "RUNS", "SINCE (UTC)", "STATE"], rows)}${refusals.map((line) => `${shown(line)}\n`).join("")}`;
}

/** As it stands in the file that was sent. */
function faultOf({ line, column, width, path, message, hint }: PlacedFault, file: string): PolicyFault {
	return { place: { file, line, column }, width, path, message, hint };
}

function isJson({ json }: PolicyFlags, io: CliIo): boolean {
	return json === true || !io.stdout.isTTY;
}
