/** Tells each change that somebody has made through the API, whatever the route. */
import type { TellOwn } from "../policy/own-events.ts";
import type { NexusContext } from "./route.ts";

/** Called for what needed the role operate and was done. */
export type Audit = (c: NexusContext, who: string, status: number) => void;

/** Names may stand in paths; what is beyond is no name. */
const PATH_CHARS_MAX = 300;

export function auditTo(tell: TellOwn): Audit {
	return (c, actor, status) => {
		const path = c.req.path.slice(0, PATH_CHARS_MAX);
		tell("nexus.audit.mutation", path, { actor, method: c.req.method, path, status, address: c.env.req.remoteAddress });
	};
}
