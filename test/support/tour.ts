/** Runs what a page prints: its sh blocks as a person would type them, each with the text block behind it as what must be said. */
import assert from "node:assert/strict";
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { symlinkSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import type { Readable } from "node:stream";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { freePorts, temporaryFolder } from "./processes.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
// Nothing is decided by it: a command that hangs becomes a failure that shows what it had said.
const COMMAND_MS = 30_000;
/** Stays until the end of the test. */
const STAYS = /^(bin\/nexus (run|sidecar|serve)|node docs\/services\.mjs) /;
/** What has just happened may not have arrived yet, and a check may have met a machine that was busy: asked again until it says so. */
const ARRIVES = /^(bin\/nexus events |curl -s \S+\/upstreams$)/;

export interface Step {
	readonly command: string;
	/** Lines that its output has; `...` stands for anything. */
	readonly expected: readonly string[];
}

/** Where this run differs from what is printed. */
export interface Tour {
	readonly folder: string;
	/** By the port that the README prints. */
	readonly ports: ReadonlyMap<string, string>;
}

/** The sh blocks of a page in their order. */
export function stepsOf(page: string): Step[] {
	return [...page.matchAll(/^```sh\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?/gms)].map(([, command = "", text = ""]) => ({
		command: command.trim(),
		expected: text.split("\n").filter((line) => line !== "" && line !== "..."),
	}));
}

/** Runs one step, and fails where it does not say what it should. */
export async function take(t: TestContext, { command, expected }: Step, tour: Tour): Promise<void> {
	const wanted = here(expected, tour);
	const typed = moved(command, tour);
	if (STAYS.test(command)) await keepRunning(t, typed, wanted, tour);
	else if (ARRIVES.test(command)) await untilItSays(typed, wanted, tour);
	else assertSays(await output(typed, tour), wanted, command);
}

/** A folder in which `bin/nexus` and `folders` are what they are in the repository. */
export function tourFolder(t: TestContext, folders: readonly string[] = []): string {
	const folder = temporaryFolder(t, "tour");
	for (const name of ["bin", ...folders]) symlinkSync(join(ROOT, name), join(folder, name));
	return folder;
}

/** Free ports in the place of those that a page prints. */
export async function otherPorts(wanted: readonly string[]): Promise<[string, string][]> {
	const free = await freePorts(wanted.length);
	return wanted.map((port, i) => [port, String(free[i])]);
}

/** Every port of loopback that a page names. */
export function portsIn(page: string): string[] {
	return [...new Set([...page.matchAll(/127\.0\.0\.1:(\d+)/g)].map(([, port = ""]) => port))];
}

export function here(lines: readonly string[], tour: Tour): string[] {
	return lines.map((line) => moved(line, tour));
}

function moved(text: string, { folder, ports }: Tour): string {
	return text
		.replace(
			/(127\.0\.0\.1:|localhost:|listen\(|\b(?:fails|fine|slow|echo|inbox):)(\d+)/g,
			(_, before: string, port: string) => before + (ports.get(port) ?? port),
		)
		.replaceAll("/tmp/", `${folder}/`);
}

/** Each line stands in the output, in this order. How much white space is between words does not count. */
export function assertSays(said: string, expected: readonly string[], command: string): void {
	const lines = said.split(/\r?\n/).map(evenlySpaced);
	let from = 0;
	for (const line of expected) {
		const pattern = new RegExp(evenlySpaced(line).split("...").map(escaped).join(".*"));
		const at = lines.findIndex((candidate, i) => i >= from && pattern.test(candidate));
		assert.notEqual(at, -1, `${JSON.stringify(line)} is not in what \`${command}\` says, or not there:\n${said}`);
		from = at + 1;
	}
}

function escaped(text: string): string {
	return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

function says(said: string, expected: readonly string[]): boolean {
	try {
		assertSays(said, expected, "");
		return true;
	} catch {
		return false;
	}
}

function evenlySpaced(line: string): string {
	return line.trim().replace(/\s+/g, " ");
}

/** Events travel in batches: what has just happened may not have reached Nexus yet. */
async function untilItSays(command: string, expected: readonly string[], tour: Tour): Promise<void> {
	const untilMs = performance.now() + COMMAND_MS;
	let said = await output(command, tour);
	while (!says(said, expected) && performance.now() < untilMs) said = await output(command, tour);
	assertSays(said, expected, command);
}

/** Runs until the end of the test; resolves once it has said what it should. */
async function keepRunning(t: TestContext, command: string, expected: readonly string[], tour: Tour): Promise<void> {
	const child = shell(`exec ${command}`, tour);
	const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
	t.after(async () => {
		child.kill("SIGTERM");
		await ended;
	});
	const { promise, resolve, reject } = Promise.withResolvers<void>();
	let said = "";
	const look = (chunk: Buffer): void => {
		said += chunk.toString();
		if (says(said, expected)) resolve();
	};
	child.stdout.on("data", look);
	child.stderr.on("data", look);
	const fail = (how: string): void => reject(new Error(`\`${command}\` ${how}:\n${said}`));
	const timer = setTimeout(() => fail("has not said what it should"), COMMAND_MS);
	void ended.then(() => fail("has ended"));
	await promise.finally(() => clearTimeout(timer));
}

/** What a whole block says on standard output; rejects where a command of it fails. */
async function output(command: string, tour: Tour): Promise<string> {
	const child = shell(`set -eu\n${command}`, tour);
	const timer = setTimeout(() => child.kill("SIGKILL"), COMMAND_MS);
	const said: string[] = [];
	const complaints: string[] = [];
	child.stdout.on("data", (chunk: Buffer) => said.push(chunk.toString()));
	child.stderr.on("data", (chunk: Buffer) => complaints.push(chunk.toString()));
	const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
	clearTimeout(timer);
	assert.equal(code, 0, `${command}\n${said.join("")}\n${complaints.join("")}`);
	return said.join("");
}

function shell(command: string, { folder }: Tour): ChildProcessByStdio<null, Readable, Readable> {
	const path = `${dirname(process.execPath)}${delimiter}${process.env.PATH ?? ""}`;
	return spawn("sh", ["-c", command], {
		cwd: folder,
		env: { ...process.env, PATH: path, NO_PROXY: "", no_proxy: "" },
		stdio: ["ignore", "pipe", "pipe"],
	});
}
