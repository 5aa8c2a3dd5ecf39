/** Tells what the rules decide: counts it, and once a second says whom they refused, in one event for each rule and caller and one line of the log. */
import type { Clock, Timer } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import { type DryRunCount, DryRunLedger } from "../../identity/authorization/dry-run-ledger.ts";
import type { AuthorizationSubject } from "../../identity/authorization/subject.ts";
import type { Verdict } from "../../identity/authorization/verdict.ts";
import type { MetricSource } from "../../metrics/source.ts";
import type { AuthorizationPolicy, AuthorizationRule } from "../../policy/authorization-policy.ts";
import { placeText } from "../../policy/place-text.ts";
import type { AuthorizationObserver } from "../inbound/authorization.ts";
import { AuthorizationCounts } from "./authorization-counts.ts";
import { type AuthorizationMark, AuthorizationWindow } from "./authorization-window.ts";
import type { EventFeed } from "./event-feed.ts";

const WINDOW_MS = 1000;

export interface AuthorizationEventsOptions {
	readonly clock: Clock;
	readonly log: Logger;
	readonly feed: Pick<EventFeed, "emit">;
}

export class AuthorizationEvents implements AuthorizationObserver {
	readonly #options: AuthorizationEventsOptions;
	readonly #counts = new AuthorizationCounts();
	readonly #dryRuns = new DryRunLedger();
	readonly #denied = new AuthorizationWindow();
	readonly #audited = new AuthorizationWindow();
	readonly #wouldDeny = new AuthorizationWindow();
	#window: Timer | undefined;

	constructor(options: AuthorizationEventsOptions) {
		this.#options = options;
	}

	/** The policy that begins to act; undefined: there is none any more. */
	adopt(policy: AuthorizationPolicy | undefined): void {
		this.#counts.adopt(policy);
		this.#dryRuns.adopt(policy);
	}

	onVerdict(
		policy: AuthorizationPolicy,
		verdict: Verdict,
		{ caller, address }: { readonly caller: string; readonly address: string },
		subject: AuthorizationSubject,
	): void {
		const { clock } = this.#options;
		const { method, path } = subject;
		const note = (window: AuthorizationWindow, rule: AuthorizationRule | undefined): void =>
			window.add(rule?.name ?? "", placeText((rule ?? policy).place), caller, address, method, path);
		if (!verdict.allowed) {
			const counts = this.#counts.of(verdict.rule?.name ?? "");
			counts.denied++;
			if (verdict.wouldAllow) counts.wouldAllow++;
			note(this.#denied, verdict.rule);
		}
		for (const rule of verdict.audited) {
			this.#counts.of(rule.name).audited++;
			note(this.#audited, rule);
		}
		for (const rule of verdict.wouldDeny) {
			this.#counts.of(rule.name).wouldDeny++;
			note(this.#wouldDeny, rule);
		}
		if (verdict.wouldDenyByDefault) {
			this.#counts.of("").wouldDeny++;
			note(this.#wouldDeny, undefined);
		}
		this.#dryRuns.record(verdict, caller, address, subject, clock.wallMs());
		this.#window ??= clock.setTimer(WINDOW_MS, () => this.#tell());
	}

	/** Whom the dry runs would have refused, the most frequent rule first. */
	dryRuns(): readonly DryRunCount[] {
		return this.#dryRuns.list();
	}

	readonly source: MetricSource = {
		collect: (emit) => {
			for (const [rule, { denied, audited, wouldDeny, wouldAllow }] of this.#counts.all()) {
				for (const [result, count] of Object.entries({ denied, audited, would_deny: wouldDeny, would_allow: wouldAllow })) {
					if (count > 0) emit("nexus_authorization_requests_total", { rule, result }, count);
				}
			}
		},
	};

	/** Tells the last, shorter window; call while events can still be delivered. Idempotent. */
	stop(): void {
		if (this.#window === undefined) return;
		this.#window.cancel();
		this.#tell();
	}

	#tell(): void {
		this.#window = undefined;
		const { feed, log } = this.#options;
		const { marks, others } = this.#denied.take();
		const windowMs = WINDOW_MS;
		for (const { count, ...mark } of marks) {
			const kind = mark.rule === "" ? "default" : "rule";
			feed.emit("nexus.mesh.authorization.denied", { windowMs, count, kind, ...mark }, mark.caller || mark.address);
		}
		if (others > 0) feed.emit("nexus.mesh.authorization.denied", { windowMs, count: others, kind: "others", ...NOBODY });
		const warn = (message: string, fields: Record<string, unknown>): void => log.warn(message, fields);
		const info = (message: string, fields: Record<string, unknown>): void => log.info(message, fields);
		tellLog(warn, "requests are refused: their caller may not do this", marks, others);
		const audited = this.#audited.take();
		tellLog(info, "requests that are audited", audited.marks, audited.others);
		const tried = this.#wouldDeny.take();
		tellLog(info, "requests that dry runs would refuse", tried.marks, tried.others);
	}
}

const NOBODY = { rule: "", policy: "", caller: "", address: "", method: "", path: "" } as const;

/** One line for each rule, with the last caller of it: a hundred callers that one rule refuses are one thing to look at. */
function tellLog(
	write: (message: string, fields: Record<string, unknown>) => void,
	message: string,
	marks: readonly AuthorizationMark[],
	others: number,
): void {
	for (const same of Map.groupBy(marks, ({ rule }) => rule).values()) {
		const last = same.at(-1);
		if (last === undefined) continue;
		const count = same.reduce((sum, one) => sum + one.count, 0);
		write(message, { ...last, count, ...(same.length > 1 ? { callers: same.length } : {}) });
	}
	if (others > 0) write(`${message}, and are counted only`, { count: others });
}
