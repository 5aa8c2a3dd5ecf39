/** One child process from start to end, together with all that it starts in turn. Knows nothing of meshes. */
import { type ChildProcess, spawn } from "node:child_process";
import { constants } from "node:os";
import { fileURLToPath } from "node:url";
import type { Clock } from "../core/clock.ts";
import { codeOf, messageOf } from "../core/errors.ts";

const LAUNCHER = fileURLToPath(new URL("../../bin/nexus", import.meta.url));

export type ChildEnd =
	| { readonly kind: "exited"; readonly code: number }
	| { readonly kind: "killed"; readonly signal: NodeJS.Signals }
	/** It never ran: no such file, no permission. */
	| { readonly kind: "not-started"; readonly message: string };

export interface ChildOptions {
	readonly name: string;
	/** Program and arguments. */
	readonly command: readonly string[];
	readonly env: NodeJS.ProcessEnv;
	readonly cwd?: string;
	/**
	 * A channel whose end tells the child that we were killed, so that it can stop too. For children that know of it: all
	 * of bin/nexus, and the services of the samples.
	 */
	readonly watched: boolean;
	/** Where both outputs go: to ours, or to an open file. */
	readonly output: "inherit" | number;
}

export class Child {
	readonly name: string;
	/** Resolves once, when the child itself has ended. Never rejects. */
	readonly ended: Promise<ChildEnd>;
	readonly process: ChildProcess;
	#end: ChildEnd | undefined;

	constructor({ name, command, env, cwd, watched, output }: ChildOptions) {
		const [file = "", ...args] = command;
		this.name = name;
		// A process group of its own: Ctrl-C in the terminal reaches us alone, so that we say in which order things stop,
		// and what the child starts in turn is stopped with it.
		this.process = spawn(file, args, {
			detached: true,
			env: watched ? { ...env, NEXUS_STOP_WITH_PARENT: "1" } : env,
			stdio: watched ? ["ignore", output, output, "ipc"] : ["ignore", output, output],
			...(cwd === undefined ? {} : { cwd }),
		});
		this.ended = new Promise((resolve) => {
			const end = (how: ChildEnd): void => {
				this.#end ??= how;
				resolve(this.#end);
			};
			this.process.once("error", (error) => {
				if (this.process.pid === undefined) end({ kind: "not-started", message: messageOf(error) });
			});
			this.process.once("exit", (code, signal) => end(signal === null ? { kind: "exited", code: code ?? 0 } : { kind: "killed", signal }));
		});
	}

	/** undefined while it runs. */
	get end(): ChildEnd | undefined {
		return this.#end;
	}

	/** To the child and what it has started; nothing happens where all of it has ended. */
	signal(signal: NodeJS.Signals): void {
		const { pid } = this.process;
		if (pid === undefined) return;
		try {
			process.kill(-pid, signal);
		} catch (error) {
			if (codeOf(error) !== "ESRCH" && codeOf(error) !== "EPERM") throw error;
		}
	}

	/** SIGTERM, and SIGKILL after `graceMs`. Resolves when it has ended; whatever it left running is killed. */
	async stop(clock: Clock, graceMs: number): Promise<ChildEnd> {
		this.signal("SIGTERM");
		const timer = clock.setTimer(graceMs, () => this.signal("SIGKILL"));
		const end = await this.ended;
		timer.cancel();
		this.signal("SIGKILL");
		return end;
	}
}

/** A command of our own program, on the Node that runs us. */
export function nexusCommand(...args: string[]): string[] {
	return [process.execPath, ...process.execArgv, LAUNCHER, ...args];
}

/** What a shell would say: the code, or 128 and the number of the signal. */
export function exitCodeOf(end: ChildEnd): number {
	switch (end.kind) {
		case "exited":
			return end.code;
		case "killed":
			return 128 + constants.signals[end.signal];
		case "not-started":
			return 127;
	}
}

export function describeEnd(end: ChildEnd): string {
	switch (end.kind) {
		case "exited":
			return `ended with ${end.code}`;
		case "killed":
			return `was ended by ${end.signal}`;
		case "not-started":
			return `does not start: ${end.message}`;
	}
}
