/** `nexus services`: the instances that have registered at Nexus. */
import { withApi } from "./ca.ts";
import type { CliIo } from "./io.ts";
import type { NexusFlags } from "./nexus-api.ts";
import { shortTime, tableText } from "./table.ts";

interface ServiceView {
	readonly service: string;
	readonly instances: readonly {
		readonly instance: string;
		readonly address: string;
		readonly zone: string | null;
		readonly version: string;
		readonly health: string;
		readonly since: string;
		readonly silentMs: number;
		readonly policyVersion: number | null;
	}[];
}

/** All services, or one. */
export function runServices(service: string | undefined, flags: NexusFlags & { readonly json?: boolean }, io: CliIo): Promise<number> {
	return withApi("services", flags, io, async (api) => {
		const path = service === undefined ? "/v1/services" : `/v1/services/${encodeURIComponent(service)}`;
		const answer = await api.json<{ services: readonly ServiceView[] }>(path);
		if (flags.json === true || !io.stdout.isTTY) io.stdout.write(`${JSON.stringify(answer)}\n`);
		else if (answer.services.length === 0) io.stdout.write("no instance is registered; `nexus: { url: ..., register: {} }` makes a sidecar do so\n");
		else {
			const rows = answer.services.flatMap(({ service: name, instances }) =>
				instances.map(({ instance, address, zone, health, since, silentMs, policyVersion }) => [
					name,
					address,
					health,
					zone ?? "-",
					policyVersion === null ? "-" : String(policyVersion),
					shortTime(since),
					`${Math.round(silentMs / 1000)} s ago`,
					instance,
				]),
			);
			io.stdout.write(tableText(["SERVICE", "ADDRESS", "HEALTH", "ZONE", "POLICY", "SINCE (UTC)", "HEARD", "INSTANCE"], rows));
		}
		return 0;
	});
}
