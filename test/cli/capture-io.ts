/** Stands where the terminal does, and keeps what a command wrote. */
import type { CliIo, CliStream } from "../../src/cli/io.ts";

export interface CaptureIo extends CliIo {
	out(): string;
	err(): string;
}

export function captureIo({ colour = false, columns = 80, isTTY }: { colour?: boolean; columns?: number; isTTY?: boolean } = {}): CaptureIo {
	const stdout: string[] = [];
	const stderr: string[] = [];
	const into = (chunks: string[]): CliStream => ({ write: (text) => chunks.push(text), isTTY: isTTY ?? colour, columns });
	return { stdout: into(stdout), stderr: into(stderr), colour, out: () => stdout.join(""), err: () => stderr.join("") };
}
