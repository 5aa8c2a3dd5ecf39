import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { silentLogger } from "../../../src/core/log.ts";
import { seededRng } from "../../../src/core/rng.ts";
import { createEndpointSource } from "../../../src/upstream/discovery/create-source.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { breath, follow } from "./support.ts";

/** A source that polls as often as `next` asks. */
function bench(t: TestContext, path: string, env: Record<string, string> = {}) {
	const clock = new FakeClock();
	const source = createEndpointSource({ kind: "file", path }, { clock, rng: seededRng(1), log: silentLogger, env });
	const { next, told } = follow(t, source);
	const soon = async (): Promise<string> => {
		const what = next();
		for (;;) {
			const first = await Promise.race([what, breath()]);
			if (first !== undefined) return first;
			clock.advance(1_000);
		}
	};
	return { clock, source, soon, told };
}

describe("file discovery", () => {
	it("reads a YAML list with weights and zones, and JSON as well", async (t) => {
		const path = fileIn(t, "- address: 10.0.0.2:80\n  weight: 3\n  zone: a\n- { address: 10.0.0.1:80 }\n- address: unix:/run/app.sock\n");
		const { soon } = bench(t, path);
		assert.equal(await soon(), "10.0.0.1:80*1 10.0.0.2:80*3@a unix:/run/app.sock*1");
		writeFileSync(path, JSON.stringify([{ address: "10.0.0.9:81" }]));
		assert.equal(await soon(), "10.0.0.9:81*1");
		writeFileSync(path, "[]");
		assert.equal(await soon(), "");
	});

	it("gives no update where only the order or the layout changed", async (t) => {
		const path = fileIn(t, "- address: 10.0.0.2:80\n- address: 10.0.0.1:80\n");
		const { soon, told } = bench(t, path);
		assert.equal(await soon(), "10.0.0.1:80*1 10.0.0.2:80*1");
		writeFileSync(path, "# sorted now\n- address: 10.0.0.1:80\n- address: 10.0.0.2:80\n- address: 10.0.0.1:80\n");
		writeFileSync(`${path}.tmp`, "- address: 10.0.0.3:80\n");
		await breath();
		renameSync(`${path}.tmp`, path);
		assert.equal(await soon(), "10.0.0.3:80*1");
		assert.deepEqual(told, []);
	});

	it("begins with an empty list and a fault where the file is missing, and reads it when it comes", async (t) => {
		const path = join(directory(t), "endpoints.yaml");
		const { soon } = bench(t, path);
		assert.equal(await soon(), "");
		assert.equal(await soon(), `fault: ${path}: there is no such file`);
		writeFileSync(path, "- address: 10.0.0.1:80\n");
		assert.equal(await soon(), "10.0.0.1:80*1");
	});

	it("keeps the last good list when the file turns bad or goes, says where it is wrong, and recovers", async (t) => {
		const path = fileIn(t, "- address: 10.0.0.1:80\n");
		const { soon, told } = bench(t, path);
		assert.equal(await soon(), "10.0.0.1:80*1");
		writeFileSync(path, "- address: 10.0.0.1:80\n- adress: 10.0.0.2:80\n");
		const fault = await soon();
		assert.ok(fault.startsWith(`fault: ${path}:2:3: `), fault);
		rmSync(path);
		assert.equal(await soon(), `fault: ${path}: there is no such file`);
		writeFileSync(path, "- address: 10.0.0.2:80\n");
		assert.equal(await soon(), "10.0.0.2:80*1");
		assert.deepEqual(told, []);
	});

	it("tells no more than three faults of a file that is no list at all", async (t) => {
		const path = fileIn(t, "- bad\n- bad\n- bad\n- bad\n- bad\n");
		const { soon } = bench(t, path);
		assert.equal(await soon(), "");
		assert.match(await soon(), /; and 2 more$/);
	});

	it("refuses a file that is larger than a policy may be", async (t) => {
		const { soon } = bench(t, fileIn(t, `# ${"x".repeat(4 * 1024 * 1024)}\n[]\n`));
		assert.equal(await soon(), "");
		assert.match(await soon(), /^fault: .*at most 1048576/);
	});

	it("puts the environment in", async (t) => {
		const path = fileIn(t, "- address: $" + "{HOST}:80\n");
		assert.equal(await bench(t, path, { HOST: "10.1.1.1" }).soon(), "10.1.1.1:80*1");
	});

	it("follows a symbolic link that is swapped as Kubernetes does", async (t) => {
		const mount = directory(t);
		for (const [version, address] of [
			["one", "10.0.0.1:80"],
			["two", "10.0.0.2:80"],
		] as const) {
			mkdirSync(join(mount, version));
			writeFileSync(join(mount, version, "endpoints.yaml"), `- address: ${address}\n`);
			symlinkSync(version, join(mount, `to-${version}`));
		}
		renameSync(join(mount, "to-one"), join(mount, "..data"));
		symlinkSync(join("..data", "endpoints.yaml"), join(mount, "endpoints.yaml"));
		const { soon } = bench(t, join(mount, "endpoints.yaml"));
		assert.equal(await soon(), "10.0.0.1:80*1");
		renameSync(join(mount, "to-two"), join(mount, "..data"));
		assert.equal(await soon(), "10.0.0.2:80*1");
	});

	it("is silent after stop, which may be called twice", async (t) => {
		const path = fileIn(t, "- address: 10.0.0.1:80\n");
		const { source, clock, told } = bench(t, path);
		source.stop();
		source.stop();
		for (let i = 0; i < 10; i++) {
			await breath();
			clock.advance(1_000);
		}
		assert.deepEqual(told, []);
		assert.equal(clock.pendingTimers, 0);
	});
});

describe("static discovery", () => {
	it("tells the list of the policy at once and never again", async (t) => {
		const endpoints = [{ address: { kind: "tcp", host: "10.0.0.1", port: 80 }, weight: 2, zone: "b" }] as const;
		const clock = new FakeClock();
		const { told } = follow(t, createEndpointSource({ kind: "static", endpoints }, { clock, rng: seededRng(1), log: silentLogger }));
		assert.deepEqual(told, ["10.0.0.1:80*2@b"]);
		assert.equal(clock.pendingTimers, 0);
	});
});

function directory(t: TestContext): string {
	const path = mkdtempSync(join(tmpdir(), "nexus-discovery-"));
	t.after(() => rmSync(path, { recursive: true, force: true }));
	return path;
}

function fileIn(t: TestContext, text: string): string {
	const path = join(directory(t), "endpoints.yaml");
	writeFileSync(path, text);
	return path;
}
