/** The launcher under an old Node, against a real npm and a small registry of its own that serves "Node 26". */
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";

const REPOSITORY = fileURLToPath(new URL("..", import.meta.url));
const FOLDER = `node-26.10.0-${process.platform}-${process.arch}`;

const old = oldNode();
const MISSING = "no Node 20 to 23 with npm on the PATH";
const skip = old === undefined && process.env.NEXUS_TEST_STRICT !== "1" ? MISSING : false;

// What stands in for the product: tells where it runs, and ends as it is asked to.
const MAIN = `
const [how] = process.argv.slice(2);
process.on("SIGTERM", () => process.exit(43));
process.on("disconnect", () => { console.log("parent gone"); process.exit(0); });
console.log(JSON.stringify({ pid: process.pid, execPath: process.execPath, args: process.argv.slice(2) }));
if (how === "wait") setInterval(() => {}, 1000);
else if (how === "killed") process.kill(process.pid, "SIGKILL");
else process.exit(Number(how ?? 0));
`;

test("an old Node brings the right one from the registry, shows that it does, and needs no registry again", { skip }, async (t) => {
	const registry = await startRegistry(t);
	const checkout = makeCheckout(t, registry.integrity);
	const first = await run(checkout, registry.url, ["7", "--flag", "a b"]);
	assert.equal(first.code, 7, first.stderr);
	assert.deepEqual(JSON.parse(first.stdout).args, ["7", "--flag", "a b"]);
	assert.equal(JSON.parse(first.stdout).execPath, process.execPath);
	assert.match(first.stderr, /is too old, bringing Node 26\.10\.0 .*\.\.\.\n.*done in \d+ s/);
	assert.deepEqual(
		readdirSync(join(checkout, ".runtime")).filter((entry) => entry !== "compile-cache"),
		[FOLDER],
	);
	await registry.close();
	const second = await run(checkout, registry.url, ["8"]);
	assert.equal(second.code, 8, second.stderr);
	assert.equal(second.stderr, "");
});

test("two first starts at the same time do not break each other", { skip }, async (t) => {
	const registry = await startRegistry(t);
	const checkout = makeCheckout(t, registry.integrity);
	const both = await Promise.all([run(checkout, registry.url, ["5"]), run(checkout, registry.url, ["6"])]);
	assert.deepEqual(
		both.map(({ code }) => code),
		[5, 6],
		both.map(({ stderr }) => stderr).join("\n"),
	);
});

test("what an interrupted download left is removed by the next start", { skip }, async (t) => {
	const registry = await startRegistry(t);
	const checkout = makeCheckout(t, registry.integrity);
	const ended = spawn(process.execPath, ["-e", ""]);
	await new Promise((resolve) => ended.once("exit", resolve));
	const leftover = join(checkout, ".runtime", `unfinished-${ended.pid}-1`);
	mkdirSync(join(leftover, "node_modules"), { recursive: true });
	const { code, stderr } = await run(checkout, registry.url, ["0"]);
	assert.equal(code, 0, stderr);
	assert.equal(existsSync(leftover), false);
});

test("bytes other than the known ones are refused", { skip }, async (t) => {
	const registry = await startRegistry(t);
	const checkout = makeCheckout(t, `sha512-${Buffer.alloc(64, 1).toString("base64")}`);
	const { code, stderr } = await run(checkout, registry.url, ["0"]);
	assert.equal(code, 70);
	assert.match(stderr, /EINTEGRITY/);
	assert.match(stderr, /do not trust that registry/);
	assert.equal(existsSync(join(checkout, ".runtime", FOLDER)), false);
});

test("a registry that cannot be reached is named as the cause", { skip }, async (t) => {
	const registry = await startRegistry(t);
	await registry.close();
	const checkout = makeCheckout(t, registry.integrity);
	const { code, stderr } = await run(checkout, registry.url, ["0"]);
	assert.equal(code, 70);
	assert.match(stderr, /The npm registry cannot be reached/);
	assert.deepEqual(readdirSync(join(checkout, ".runtime")), []);
});

test("a machine without npm is told what to install", { skip }, async (t) => {
	const checkout = makeCheckout(t, "sha512-unused");
	const { code, stderr } = await run(checkout, "http://127.0.0.1:1", ["0"], { PATH: join(checkout, "nothing") });
	assert.equal(code, 70);
	assert.match(stderr, /there is no `npm` on the PATH/);
});

test("signals reach the program, and its end is the launcher's end", { skip }, async (t) => {
	const checkout = withRuntime(makeCheckout(t, "sha512-unused"));
	const waiting = start(checkout, ["wait"]);
	await firstLine(waiting);
	waiting.kill("SIGTERM");
	assert.deepEqual(await ended(waiting), { code: 43, signal: null });
	assert.deepEqual(await ended(start(checkout, ["killed"])), { code: null, signal: "SIGKILL" });
	assert.deepEqual(await ended(start(checkout, ["9"])), { code: 9, signal: null });
});

test("the program learns that its launcher was killed", { skip }, async (t) => {
	const checkout = withRuntime(makeCheckout(t, "sha512-unused"));
	const launcher = start(checkout, ["wait"]);
	let output = "";
	launcher.stdout?.on("data", (chunk) => {
		output += chunk;
	});
	await firstLine(launcher);
	launcher.kill("SIGKILL");
	// The pipe closes when the last process that holds it, the program, has ended.
	await new Promise((resolve) => launcher.once("close", resolve));
	assert.match(output, /parent gone/);
});

test("the right Node runs the program in the launcher's own process", async (t) => {
	const checkout = makeCheckout(t, "sha512-unused");
	const launcher = start(checkout, ["3"], process.execPath);
	const told = JSON.parse(await firstLine(launcher)) as { pid: number };
	assert.equal(told.pid, launcher.pid);
	assert.deepEqual(await ended(launcher), { code: 3, signal: null });
});

/** The launcher with a program of ours, in a folder of its own. `integrity` takes the place of the real checksums. */
function makeCheckout(t: TestContext, integrity: string): string {
	const checkout = mkdtempSync(join(tmpdir(), "nexus-launcher-"));
	t.after(() => rmSync(checkout, { recursive: true, force: true }));
	cpSync(join(REPOSITORY, "bin"), join(checkout, "bin"), { recursive: true });
	const runtime = join(checkout, "bin", "lib", "runtime.js");
	writeFileSync(runtime, readFileSync(runtime, "utf8").replaceAll(/"sha512-[^"]+"/g, JSON.stringify(integrity)));
	writeFileSync(join(checkout, "package.json"), '{ "type": "module" }');
	for (const folder of ["src", "node_modules"]) mkdirSync(join(checkout, folder));
	writeFileSync(join(checkout, "src", "main.ts"), MAIN);
	return checkout;
}

/** As if a Node had been brought before. */
function withRuntime(checkout: string): string {
	const bin = join(checkout, ".runtime", FOLDER, "bin");
	mkdirSync(bin, { recursive: true });
	writeFileSync(join(bin, "node"), standIn(), { mode: 0o755 });
	return checkout;
}

/** Says that it is Node 26.10.0, and is the Node that runs this test. */
function standIn(): string {
	return `#!/bin/sh\nif [ "$1" = --version ]; then echo v26.10.0; exit; fi\nexec '${process.execPath}' "$@"\n`;
}

async function startRegistry(t: TestContext): Promise<{ url: string; integrity: string; close: () => Promise<void> }> {
	const folder = mkdtempSync(join(tmpdir(), "nexus-registry-"));
	t.after(() => rmSync(folder, { recursive: true, force: true }));
	mkdirSync(join(folder, "package", "bin"), { recursive: true });
	writeFileSync(join(folder, "package", "bin", "node"), standIn(), { mode: 0o755 });
	writeFileSync(join(folder, "package", "package.json"), '{ "name": "node", "version": "26.10.0" }');
	execFileSync("tar", ["czf", "package.tgz", "package"], { cwd: folder });
	const tarball = readFileSync(join(folder, "package.tgz"));
	const integrity = `sha512-${createHash("sha512").update(tarball).digest("base64")}`;
	const server = createServer((request, response) => {
		if (request.url?.endsWith(".tgz")) return response.end(tarball);
		const name = request.url?.slice(1) ?? "";
		const dist = { tarball: `${url}/${name}.tgz`, integrity };
		response.setHeader("content-type", "application/json");
		return response.end(JSON.stringify({ name, "dist-tags": { latest: "26.10.0" }, versions: { "26.10.0": { name, version: "26.10.0", dist } } }));
	});
	await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
	const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
	const close = async (): Promise<void> => {
		server.closeAllConnections();
		await new Promise((resolve) => server.close(resolve));
	};
	t.after(close);
	return { url, integrity, close };
}

function start(checkout: string, args: string[], node = old, env: NodeJS.ProcessEnv = process.env): ChildProcess {
	assert.ok(node !== undefined, MISSING);
	return spawn(node, [join(checkout, "bin", "nexus"), ...args], { env, stdio: ["ignore", "pipe", "pipe"] });
}

async function run(
	checkout: string,
	registry: string,
	args: string[],
	more: NodeJS.ProcessEnv = {},
): Promise<{ code: number | null; stdout: string; stderr: string }> {
	// Nothing of an npm that runs this test, nor of its user's settings.
	const own = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("npm_")));
	const npm = {
		npm_config_registry: registry,
		npm_config_cache: join(checkout, "npm-cache"),
		npm_config_userconfig: join(checkout, "npmrc"),
		npm_config_fetch_retries: "0",
	};
	const child = start(checkout, args, old, { ...own, ...npm, HOME: checkout, ...more });
	let stdout = "";
	let stderr = "";
	child.stdout?.on("data", (chunk) => {
		stdout += chunk;
	});
	child.stderr?.on("data", (chunk) => {
		stderr += chunk;
	});
	const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
	return { code, stdout, stderr };
}

function ended(child: ChildProcess): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
	return new Promise((resolve) => child.once("close", (code, signal) => resolve({ code, signal })));
}

function firstLine(child: ChildProcess): Promise<string> {
	return new Promise((resolve) => {
		let text = "";
		child.stdout?.on("data", (chunk) => {
			text += chunk;
			if (text.includes("\n")) resolve(text.slice(0, text.indexOf("\n")));
		});
	});
}

/** A Node older than the product needs, with an npm beside it. */
function oldNode(): string | undefined {
	for (const folder of (process.env.PATH ?? "").split(delimiter)) {
		const node = join(folder, "node");
		if (!existsSync(node) || !existsSync(join(folder, "npm"))) continue;
		const major = Number(execFileSync(node, ["-p", "process.versions.node.split('.')[0]"], { encoding: "utf8" }));
		if (major >= 20 && major < 24) return node;
	}
	return undefined;
}
