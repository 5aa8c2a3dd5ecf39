/** The keys around Nexus as a source: where the policy comes from besides this file, and how this instance becomes known to others. */

import { DEFAULTS } from "./defaults.ts";
import { byDefault, durationFrom, name, optional, required, text, wordOr } from "./schema-values.ts";
import { choice, object } from "./shape.ts";
import { parseFilePath, parseTcpAddress } from "./values.ts";

// As the registry of Nexus takes it: shorter ones would end with a pause of the collector, longer ones name the dead for minutes.
const LEASE_MIN_MS = 3_000;
const LEASE_MAX_MS = 5 * 60_000;

export const policySource = object({
	source: required(choice(["nexus"]), "Nexus at `nexus.url`: `nexus policies put` changes the policy of a service while it runs."),
	merge: byDefault(
		choice(["local", "nexus"]),
		DEFAULTS.policyMerge,
		"Both are merged key by key, lists as a whole; where both say something, this file counts (`local`) or Nexus (`nexus`).",
	),
	cacheDir: optional(
		text("directory", parseFilePath),
		"Where the last good policy of Nexus, and the last lists of its registry, are kept (mode 0600), so that a start needs no Nexus; relative to this file. Without it a start waits for Nexus.",
	),
});

export const register = object({
	address: optional(
		text("host:port", (written) => parseTcpAddress(written, 1)),
		"Where others reach the inbound listener. By default its own address, or where it listens everywhere the one that Nexus sees.",
	),
	lease: byDefault(
		durationFrom(LEASE_MIN_MS, LEASE_MAX_MS),
		DEFAULTS.registrationLease,
		"How long Nexus lists this instance without hearing of it, 3s to 5m; it is renewed three times within that.",
	),
});

export const registry = wordOr(
	["nexus"],
	object({ service: required(name, "The service whose instances these are; by default the upstream's name.") }),
	() => ({ service: undefined }),
);
