/** What the bench is doing right now, on standard error, so that standard output stays a report. */

export interface Progress {
	/** Replaces the line before in a terminal; a line of its own elsewhere. */
	step(text: string): void;
	/** A line that stays. */
	note(text: string): void;
	done(): void;
}

export function startProgress(stream: NodeJS.WriteStream): Progress {
	const startedAt = performance.now();
	const erase = stream.isTTY ? "\r\x1b[2K" : "";
	return {
		step(text) {
			const seconds = ((performance.now() - startedAt) / 1000).toFixed(0).padStart(4);
			stream.write(`${erase}${seconds} s  ${text}${stream.isTTY ? "" : "\n"}`);
		},
		note: (text) => stream.write(`${erase}${text}\n`),
		done: () => stream.write(erase),
	};
}
