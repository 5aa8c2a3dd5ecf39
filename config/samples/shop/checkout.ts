/** Takes an order and has it paid for. */
import { call, serve } from "./service.ts";

serve(3002, async (message) => {
	if (message.url === "/healthz") return { status: 200, body: "ok" };
	const number = message.url?.split("/")[2] ?? "0";
	const { status, body } = await call("payments", `/pay/${number}`, message);
	return { status, body: { number, payment: body } };
});
