/** Before anything is measured: does the contestant answer with the right status, length and bytes, twice on one connection? */
import { Connection } from "./client.ts";
import { bodyOf, bodyPath, ORIGIN_HOST } from "./origin.ts";

/** Rejects with what is wrong. */
export async function verifyReplies(port: number, bodies: readonly number[]): Promise<void> {
	const connection = await Connection.open(port);
	try {
		for (const bytes of [...bodies, ...bodies]) {
			const { status, body, head } = await connection.request({ host: ORIGIN_HOST, path: bodyPath(bytes) });
			if (status !== 200) throw new Error(`status ${status} for a body of ${bytes} bytes: ${head.split("\r\n").join(" | ")}`);
			if (body?.equals(bodyOf(bytes)) !== true) throw new Error(`a body of ${bytes} bytes arrived as ${body?.length ?? 0} other ones`);
		}
	} finally {
		connection.close();
	}
}
