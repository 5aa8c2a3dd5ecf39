/** The shop's front door: one order for every visit. */
import { call, serve } from "./service.ts";

let order = 0;

serve(3001, async (message) => {
	if (message.url === "/healthz") return { status: 200, body: "ok" };
	const { status, body } = await call("checkout", `/orders/${++order}`, message);
	return { status, body: { shop: "open", order: body } };
});
