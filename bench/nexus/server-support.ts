/** What every server that the bench starts needs. */
import { mkdirSync } from "node:fs";
import { connect } from "node:net";
import type { Workspace } from "../processes.ts";

/** A new folder of the workspace. */
export function directory(workspace: Workspace, name: string): string {
	const dir = workspace.file(name);
	mkdirSync(dir);
	return dir;
}

/** Whether somebody listens. */
export function accepts(port: number): Promise<boolean> {
	return new Promise((resolve) => {
		const socket = connect(port, "127.0.0.1");
		socket.once("connect", () => {
			socket.destroy();
			resolve(true);
		});
		socket.once("error", () => resolve(false));
	});
}
