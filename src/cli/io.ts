/** What a command may write to, so that a test can stand where the terminal does. Commands never touch `process` for output. */

export interface CliStream {
	write(text: string): unknown;
	readonly isTTY: boolean;
	/** Width in characters; 80 where it is unknown. */
	readonly columns: number;
}

export interface CliIo {
	readonly stdout: CliStream;
	readonly stderr: CliStream;
	/** Whether escape sequences for colour may be written to stdout. */
	readonly colour: boolean;
}

/** The terminal, or the pipe, that this process was started with. */
export function processIo(): CliIo {
	const stdout = streamOf(process.stdout);
	return { stdout, stderr: streamOf(process.stderr), colour: stdout.isTTY && (process.stdout as { hasColors?(): boolean }).hasColors?.() === true };
}

function streamOf(stream: NodeJS.WriteStream): CliStream {
	return {
		write: (text) => stream.write(text),
		isTTY: stream.isTTY === true,
		// A getter: the window may be resized while a command runs.
		get columns() {
			return stream.columns || 80; // 0 where a terminal has no size
		},
	};
}
