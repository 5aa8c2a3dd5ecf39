/** One event as one readable line: when, how grave, what, who, and the gist of its data. */
import type { NexusEventData } from "../events/catalogue.ts";
import { type CloudEvent, validateEvent } from "../events/cloud-event.ts";

/** As the API gives it. */
export interface ShownEvent {
	readonly sequence: number;
	readonly receivedAt: string;
	readonly event: CloudEvent;
}

export interface LineStyle {
	readonly colour: boolean;
	/** The gist is cut so that a line fits. */
	readonly columns: number;
}

const GIST_CHARS_MIN = 20;
// Control characters, also those of the C1 set, and what changes the direction of writing.
const UNPRINTABLE = /[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
const RED = "\x1b[31m";
const YELLOW = "\x1b[33m";
const DIM = "\x1b[2m";
const BOLD = "\x1b[1m";
const RESET = "\x1b[0m";

/** `data` of one item of the API; undefined where it is none. */
export function readShownEvent(value: unknown): ShownEvent | undefined {
	if (typeof value !== "object" || value === null) return undefined;
	const { sequence, receivedAt, event } = value as Record<string, unknown>;
	if (typeof sequence !== "number" || typeof receivedAt !== "string") return undefined;
	const verdict = validateEvent(event);
	return verdict.ok ? { sequence, receivedAt, event: verdict.event } : undefined;
}

/** Local time of receipt, without a line break at the end. What senders wrote can move no cursor. */
export function eventLine({ receivedAt, event }: ShownEvent, { colour, columns }: LineStyle): string {
	const paint = (code: string, text: string): string => (colour ? `${code}${text}${RESET}` : text);
	const time = localTime(receivedAt);
	const mark = severity(event.priority);
	const type = event.type.replace(/^nexus\.(mesh\.)?/, "");
	const who = event.source.replace(/^\/mesh\//, "");
	const plain = `${time} ${mark.text} ${type.padEnd(20)} ${who.padEnd(16)} `;
	const gist = printable(gistOf(event));
	const room = Math.max(GIST_CHARS_MIN, columns - plain.length);
	const cut = gist.length > room ? `${gist.slice(0, room - 1)}…` : gist;
	return `${paint(DIM, time)} ${paint(mark.colour, mark.text)} ${paint(BOLD, printable(type).padEnd(20))} ${printable(who).padEnd(16)} ${cut}`.trimEnd();
}

function severity(priority: number | undefined): { text: string; colour: string } {
	if (priority !== undefined && priority >= 8) return { text: "FAIL", colour: RED };
	if (priority !== undefined && priority >= 6) return { text: "note", colour: YELLOW };
	return { text: "info", colour: DIM };
}

type Gists = { readonly [T in keyof NexusEventData]: (data: NexusEventData[T]) => string };

const GISTS: Gists = {
	"nexus.mesh.sidecar.started": (d) => `version ${d.version}, policy ${d.policyVersion}, ready after ${Math.round(d.readyMs)} ms`,
	"nexus.mesh.sidecar.draining": (d) => `by ${d.cause}, ${d.inFlight} in flight`,
	"nexus.mesh.sidecar.stopped": (d) => `after ${Math.round(d.uptimeMs / 1000)} s, ${d.cut} cut`,
	"nexus.mesh.traffic.routed": (d) =>
		`${d.direction} ${d.route === "" ? "" : `${d.route} -> `}${d.upstream} ${d.outcome} x${d.count}, mean ${(d.latency.sumMs / Math.max(1, d.count)).toFixed(1)} ms`,
	"nexus.mesh.endpoint.unhealthy": (d) => `${d.upstream} ${d.endpoint} (${d.kind}): ${d.lastError}, ${d.consecutive} in a row`,
	"nexus.mesh.endpoint.healthy": (d) => `${d.upstream} ${d.endpoint} (${d.kind}), ${d.consecutive} in a row`,
	"nexus.mesh.endpoint.ejected": (d) => `${d.upstream} ${d.endpoint} for ${seconds(d.forMs)} (${d.cause}, time ${d.ejections})${where(d.policy)}`,
	"nexus.mesh.endpoint.returned": (d) => `${d.upstream} ${d.endpoint} by ${d.by}, was out for ${d.cause}`,
	"nexus.mesh.retry.budget_exhausted": (d) => `${d.upstream}: ${d.refused} tries not made in ${seconds(d.windowMs)}${where(d.policy)}`,
	"nexus.mesh.rate_limit.exceeded": (d) =>
		`${d.direction} ${d.limit}: ${d.refused} refused in ${seconds(d.windowMs)}, most for ${d.top.map(({ key, refused }) => `${key} x${refused}`).join(", ")}${where(d.policy)}`,
	"nexus.mesh.fault.injected": (d) => `${d.fault} (${d.kind}) x${d.count} to ${d.upstream} at ${d.endpoints.join(", ")}`,
	"nexus.chaos.inject.failure": (d) =>
		`${d.fault} ${d.change}: ${d.kind} of ${d.percent} % to ${d.upstream}${d.expiresAt === "" ? "" : `, until ${d.expiresAt}`}`,
	"nexus.mesh.mtls.failure": (d) => {
		const who = [d.peer, d.address].filter((part) => part !== "").join(" at ");
		return `${d.kind === "cut" ? "cut" : d.name} ${d.reason} x${d.count}${who === "" ? "" : `, ${who}`}: ${d.words}`;
	},
	"nexus.mesh.authorization.denied": (d) => {
		if (d.kind === "others") return `x${d.count} beyond those that are told one by one`;
		const rule = d.kind === "rule" ? `rule ${d.rule}` : "no rule allows it";
		return `${d.caller || "unauthenticated"} at ${d.address} x${d.count}, last ${d.method} ${d.path}: ${rule}${where(d.policy)}`;
	},
	"nexus.circuit_breaker.tripped": (d) => `${breaker(d)} open for ${seconds(d.openForMs)}: ${d.cause}${where(d.policy)}`,
	"nexus.circuit_breaker.half_open": (d) => `${breaker(d)} half-open: ${d.cause}`,
	"nexus.circuit_breaker.reset": (d) => `${breaker(d)} closed: ${d.cause}`,
	"nexus.mesh.certificate.rotated": (d) => `${d.identity}: serial ${d.newSerial} for ${d.oldSerial}, until ${d.notAfter}`,
	"nexus.mesh.certificate.expiring": (d) => {
		const state = d.expired ? "has ended" : `ends in ${seconds(d.leftMs)}`;
		return `${d.identity}: serial ${d.serial} ${state}, ${d.failures} renewals failed${d.lastError === "" ? "" : `: ${d.lastError}`}`;
	},
	"nexus.mesh.policy.applied": (d) =>
		`version ${d.version} (${d.hash}) ${Object.entries(d.changed)
			.filter(([, names]) => names.length > 0)
			.map(([section, names]) => `${section}: ${names.join(", ")}`)
			.join("; ")}`,
	"nexus.policy.rollout.started": (d) =>
		`${d.service}: version ${d.version} to ${d.stage} (${d.instances.join(", ")}), by ${d.author}${d.reason === "" ? "" : `: ${d.reason}`}`,
	"nexus.policy.rollout.advanced": (d) => `${d.service}: version ${d.version} to ${d.stage}, ${d.verdict}`,
	"nexus.policy.rollout.completed": (d) => `${d.service}: version ${d.version} everywhere`,
	"nexus.policy.rollout.rolled_back": (d) =>
		`${d.service}: version ${d.version} taken back${d.automatic ? "" : " by hand"}, ${d.from} again: ${d.cause}`,
	"nexus.audit.mutation": (d) => `${d.actor} at ${d.address}: ${d.method} ${d.path} (${d.status})`,
	"nexus.mesh.policy.rejected": (d) => d.faults.map(({ place, message }) => `${place} ${message}`).join("; "),
	"nexus.bus.dead_letter.parked": (d) => `${d.subscription}: ${d.type} ${d.id} after ${d.attempts} tries: ${d.reason}`,
	"nexus.bus.subscription.stalled": (d) => `${d.subscription}: ${d.cause}; ${d.open} open, ${d.unread} unread`,
	"nexus.bus.subscription.recovered": (d) => d.subscription,
};

function breaker({ dependency, scopeKey }: NexusEventData["nexus.circuit_breaker.reset"]): string {
	return scopeKey === "" ? dependency : `${dependency} (${scopeKey})`;
}

function where(policy: string): string {
	return policy === "" ? "" : `, ${policy}`;
}

function seconds(ms: number): string {
	return `${Math.round(ms / 100) / 10} s`;
}

function gistOf(event: CloudEvent): string {
	const gist = (GISTS as Readonly<Record<string, (data: never) => string>>)[event.type];
	if (gist !== undefined && Object.hasOwn(GISTS, event.type)) {
		try {
			return gist(event.data as never);
		} catch {
			// Anyone may send an event of this type; then its data is shown as it is.
		}
	}
	const subject = event.subject === undefined ? "" : `${event.subject} `;
	if (event.data_base64 !== undefined) return `${subject}(${Math.floor(event.data_base64.length * 0.75)} bytes)`;
	return event.data === undefined ? subject : subject + JSON.stringify(event.data);
}

function localTime(iso: string): string {
	const date = new Date(iso);
	const two = (n: number): string => String(n).padStart(2, "0");
	return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

/** Whatever it is as JSON, with what a terminal would obey escaped. */
export function safeJson(value: unknown, indent?: number): string {
	const escaped = (line: string): string => line.replace(UNPRINTABLE, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
	return JSON.stringify(value, undefined, indent).split("\n").map(escaped).join("\n");
}

/** Text from outside, with what a terminal would obey taken out. */
export function printable(text: string): string {
	return text.replace(UNPRINTABLE, "\ufffd");
}
