/** `nexus ca init`: a new authority in a folder, for Nexus to issue with. */
import { chmod, mkdir } from "node:fs/promises";
import { resolve } from "node:path";
import type { Clock } from "../core/clock.ts";
import { codeOf, messageOf } from "../core/errors.ts";
import { existingAuthorityFiles, writeAuthorityDir } from "../identity/authority-dir.ts";
import { createAuthority } from "../identity/new-authority.ts";
import { SPIFFE_ID_FAULTS, trustDomainFault } from "../identity/spiffe-id.ts";
import type { CliIo } from "./io.ts";

export interface CaInitOptions {
	readonly dir: string;
	readonly trustDomain: string;
}

/** Resolves with 0, or with 1 where there is something already, or nothing can be written. */
export async function runCaInit({ dir, trustDomain }: CaInitOptions, io: CliIo, clock: Clock): Promise<number> {
	const refuse = (message: string): number => {
		io.stderr.write(`nexus ca init: ${message}\n`);
		return 1;
	};
	const fault = trustDomainFault(trustDomain);
	if (fault !== undefined) return refuse(`--trust-domain ${trustDomain} is no trust domain: ${SPIFFE_ID_FAULTS[fault]}`);
	try {
		const there = await existingAuthorityFiles(dir);
		if (there.length > 0) {
			return refuse(
				`${there.join(", ")} ${there.length === 1 ? "is" : "are"} there already, and an authority is never overwritten: choose another --dir, or use \`nexus ca rotate\``,
			);
		}
		// A folder that we make is its owner's; one that is there is as somebody wants it.
		if ((await mkdir(dir, { recursive: true })) !== undefined) await chmod(dir, 0o700);
		const authority = await createAuthority({ trustDomain, nowMs: clock.wallMs() });
		const files = await writeAuthorityDir(dir, authority);
		const { fingerprint, notAfterMs } = authority.root.certificate;
		if (!io.stdout.isTTY) {
			io.stdout.write(
				`${JSON.stringify({ dir: resolve(dir), trustDomain, root: fingerprint, notAfter: new Date(notAfterMs).toISOString(), files })}\n`,
			);
			return 0;
		}
		io.stdout.write(doneText(dir, trustDomain, fingerprint, files));
		return 0;
	} catch (thrown) {
		if (codeOf(thrown) === undefined) throw thrown;
		return refuse(messageOf(thrown));
	}
}

function doneText(dir: string, trustDomain: string, fingerprint: string, files: readonly string[]): string {
	return `The authority of ${trustDomain} is made; its root is sha256 ${fingerprint}.
Written:
${files.map((file) => `  ${file}${file.endsWith(".key") ? "   secret, mode 0600" : ""}`).join("\n")}

Next:
  1. Say so in the configuration of Nexus:      authority: { dir: ${dir} }
  2. Start it:                                  nexus serve --config nexus.yaml
     It writes operator.token into its data directory: the first operator.
  3. A token for each service:                  nexus token create --service payments --url https://127.0.0.1:7400 --ca ${dir}/ca.pem --token-file DATA/operator.token
root.key is needed to replace the intermediate only: you may keep it elsewhere in between.
`;
}
