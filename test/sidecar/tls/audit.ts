/**
 * `node --test test/sidecar/tls/audit.ts`: looks at the inbound port of a real sidecar as an auditor would, with testssl.sh (Debian package
 * testssl.sh), and fails on any finding above LOW. Takes minutes, so that no run of all tests waits for it. Its checks of certificates are left
 * out: they are made for the web, where certificates last for months and come from public authorities.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { it } from "node:test";
import { promisify } from "node:util";
import { NexusProcess } from "../../support/processes.ts";
import { certificateFolder } from "./support.ts";

/** Protocols, standard cipher lists, forward secrecy, the server's order, vulnerabilities. */
const CHECKS = ["-p", "-s", "-f", "-P", "-U"];
const ABOVE_LOW: ReadonlySet<string> = new Set(["MEDIUM", "HIGH", "CRITICAL"]);
const TIMEOUT_MS = 10 * 60_000;
/** Fewer means that it could not connect. */
const FINDINGS_MIN = 20;

interface Finding {
	readonly id: string;
	readonly severity: string;
	readonly finding: string;
}

for (const minVersion of ["1.3", "1.2"]) {
	it(`testssl.sh finds nothing above LOW on a port that speaks TLS ${minVersion} and newer`, { timeout: TIMEOUT_MS }, async (t) => {
		const folder = await certificateFolder(t);
		const policy = join(folder.folder, "policy.yaml");
		const inbound = `inbound: { listen: 127.0.0.1:0, application: 127.0.0.1:9, tls: { minVersion: "${minVersion}" } }\n`;
		writeFileSync(
			policy,
			`service: audited\nadmin: { listen: 127.0.0.1:0 }\n${folder.identityOf("audited", await folder.issue("audited"))}${inbound}`,
		);
		const sidecar = new NexusProcess(t, ["sidecar", "--config", policy]);
		const [, port = ""] = await sidecar.said(/"inbound":"127\.0\.0\.1:(\d+)"/, "stderr");
		const found = join(folder.folder, "findings.json");
		const args = ["--quiet", "--color", "0", "--ip", "127.0.0.1", "--warnings", "off", "--jsonfile", found, ...CHECKS, `localhost:${port}`];
		// How many checks were not passed is its exit code; the file says which.
		await promisify(execFile)("testssl", args, { maxBuffer: 64 * 1024 * 1024 }).catch((thrown: { code?: unknown }) => {
			if (typeof thrown.code !== "number") throw thrown;
		});
		const findings = JSON.parse(readFileSync(found, "utf8")) as Finding[];
		assert.ok(findings.length >= FINDINGS_MIN, `${findings.length} findings`);
		assert.deepEqual(
			findings.filter(({ severity }) => ABOVE_LOW.has(severity)),
			[],
		);
		t.diagnostic(`${findings.length} findings, none above LOW`);
	});
}
