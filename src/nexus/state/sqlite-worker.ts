/** The thread that waits for the disk: takes calls in order, answers in order; a backup goes on beside them, and answers for itself. */
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import type { Group, Span } from "./engine.ts";
import { openSqliteDatabase } from "./sqlite-database.ts";

export type SqliteCall =
	| { readonly call: "write"; readonly group: Group }
	| { readonly call: "get"; readonly table: string; readonly key: string }
	| { readonly call: "list"; readonly table: string; readonly span: Span }
	| { readonly call: "changes"; readonly table: string; readonly after: number; readonly bytes: number }
	| { readonly call: "cursors"; readonly span: Span }
	| { readonly call: "backup"; readonly file: string; readonly port: MessagePort }
	| { readonly call: "close" };

export interface SqliteWorkerData {
	readonly file: string;
	readonly bytesMax: number;
}

const { file, bytesMax } = workerData as SqliteWorkerData;
const opened = openSqliteDatabase(file, bytesMax);
// The first answer is how opening went.
parentPort?.postMessage(opened.ok ? { ok: true } : opened);
if (opened.ok) {
	const { database } = opened;
	parentPort?.on("message", (message: SqliteCall) => {
		switch (message.call) {
			case "write":
				return parentPort?.postMessage(database.write(message.group));
			case "get":
				return parentPort?.postMessage(database.get(message.table, message.key));
			case "list":
				return parentPort?.postMessage(database.list(message.table, message.span));
			case "changes":
				return parentPort?.postMessage(database.changes(message.table, message.after, message.bytes));
			case "cursors":
				return parentPort?.postMessage(database.cursors(message.span));
			case "backup":
				return void database.backup(message.file).then((outcome) => message.port.postMessage(outcome));
			case "close":
				database.close();
				parentPort?.postMessage(undefined);
				parentPort?.close();
		}
	});
}
