/** A process that is a webhook: it refuses, and leaves unanswered, what its sender says it should. */
import { createServer } from "node:http";
import { finishing, parameters, record } from "./record.ts";
import { digestOf, isRefused, isRefusedOutright, type WorkEvent } from "./workload.ts";

export interface HookParameters {
	readonly port: number;
	readonly isMended: boolean;
}

const OK = 204;
const FAILED = 500;
/** "It is about the event": never sent again. */
const UNPROCESSABLE = 422;
const REFUSALS = 2;

const { port, isMended } = parameters<HookParameters>();
/** How often each event has come that is not simply taken. */
const tries = new Map<string, number>();

const server = createServer(async (req, res) => {
	const parts: Buffer[] = [];
	try {
		for await (const part of req) parts.push(part as Buffer);
	} catch {
		return; // cut off: nothing was delivered
	}
	const event = JSON.parse(Buffer.concat(parts).toString()) as WorkEvent;
	record({ what: "delivered", id: event.id, digest: digestOf(event) });
	const status = answerTo(event);
	if (status === undefined) return;
	if (status === OK) record({ what: "accepted", id: event.id });
	res.writeHead(status).end();
});
server.listen(port, "127.0.0.1");
if (isMended) record({ what: "closed" });
finishing().addEventListener("abort", () => process.exit(0));

/** Undefined: none at all. */
function answerTo(event: WorkEvent): number | undefined {
	const { id, fate } = event;
	if (fate === "good") return OK;
	if (isRefused(event, isMended)) return isRefusedOutright(event) ? UNPROCESSABLE : FAILED;
	const before = tries.get(id) ?? 0;
	tries.set(id, before + 1);
	if (fate === "flaky" && before < REFUSALS) return FAILED;
	return fate === "slow" && before === 0 ? undefined : OK;
}
