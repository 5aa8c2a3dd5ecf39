/** A strict reader of the Prometheus text format 0.0.4, for tests: throws on what `promtool check metrics` would refuse. */

export interface ParsedFamily {
	readonly help: string;
	readonly type: string;
	readonly samples: { name: string; labels: Record<string, string>; value: number }[];
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*/;
const LABEL = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"/;
const NUMBER = /^(?:[+-]?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?)|\+Inf|-Inf|NaN)$/;
const SUFFIXES = ["_bucket", "_sum", "_count"];

export function parseExposition(text: string): Map<string, ParsedFamily> {
	if (!text.endsWith("\n")) throw new Error("the last line has no end");
	const families = new Map<string, ParsedFamily>();
	const helps = new Map<string, string>();
	const seen = new Set<string>();
	let current: string | undefined;
	for (const line of text.split("\n")) {
		if (line === "") continue;
		const meta = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line);
		if (meta !== null) {
			const [, kind = "", name = "", rest = ""] = meta;
			if (kind === "HELP") {
				if (helps.has(name)) throw new Error(`second HELP of ${name}`);
				helps.set(name, rest);
			} else {
				if (families.has(name)) throw new Error(`second TYPE of ${name}`);
				if (!["counter", "gauge", "histogram"].includes(rest)) throw new Error(`type ${rest}`);
				families.set(name, { help: helps.get(name) ?? "", type: rest, samples: [] });
			}
			current = name;
			continue;
		}
		if (line.startsWith("#")) throw new Error(`odd comment: ${line}`);
		const sample = parseSample(line);
		const family = familyOf(sample.name, families);
		if (family !== current) throw new Error(`${sample.name} stands among the samples of ${current}`);
		const key = `${sample.name}${JSON.stringify(sample.labels)}`;
		if (seen.has(key)) throw new Error(`second sample of ${key}`);
		seen.add(key);
		families.get(family)?.samples.push(sample);
	}
	for (const [name, family] of families) check(name, family);
	return families;
}

function parseSample(line: string): { name: string; labels: Record<string, string>; value: number } {
	const name = NAME.exec(line)?.[0];
	if (name === undefined) throw new Error(`no name: ${line}`);
	let rest = line.slice(name.length);
	const labels: Record<string, string> = {};
	if (rest.startsWith("{")) {
		rest = rest.slice(1);
		while (!rest.startsWith("}")) {
			const match = LABEL.exec(rest);
			if (match === null) throw new Error(`bad label at ${JSON.stringify(rest)}`);
			const [whole, label = "", value = ""] = match;
			if (label in labels) throw new Error(`label ${label} twice: ${line}`);
			labels[label] = value.replace(/\\(.)/g, (_, c: string) => (c === "n" ? "\n" : c));
			rest = rest.slice(whole.length);
			if (rest.startsWith(",")) rest = rest.slice(1);
			else if (!rest.startsWith("}")) throw new Error(`no comma: ${line}`);
		}
		rest = rest.slice(1);
	}
	const value = rest.slice(1);
	if (!rest.startsWith(" ") || !NUMBER.test(value)) throw new Error(`bad value: ${line}`);
	return { name, labels, value: value === "+Inf" ? Number.POSITIVE_INFINITY : Number(value) };
}

function familyOf(sample: string, families: Map<string, ParsedFamily>): string {
	if (families.has(sample)) return sample;
	for (const suffix of SUFFIXES) {
		const base = sample.slice(0, -suffix.length);
		if (sample.endsWith(suffix) && families.get(base)?.type === "histogram") return base;
	}
	throw new Error(`${sample} has no TYPE`);
}

function check(name: string, { help, type, samples }: ParsedFamily): void {
	if (help === "") throw new Error(`${name} has no HELP`);
	if (type === "counter" && !name.endsWith("_total")) throw new Error(`counter ${name} does not end in _total`);
	if (type === "counter" && samples.some((sample) => sample.value < 0)) throw new Error(`counter ${name} is negative`);
	if (type === "histogram") checkHistogram(name, samples);
}

function checkHistogram(name: string, samples: ParsedFamily["samples"]): void {
	const series = new Map<string, { lastLe: number; last: number; sum: boolean; count?: number }>();
	for (const sample of samples) {
		const { le, ...labels } = sample.labels;
		const key = JSON.stringify(labels);
		const state = series.get(key) ?? { lastLe: Number.NEGATIVE_INFINITY, last: 0, sum: false };
		series.set(key, state);
		if (sample.name === `${name}_sum`) state.sum = true;
		else if (sample.name === `${name}_count`) state.count = sample.value;
		else {
			const bound = le === "+Inf" ? Number.POSITIVE_INFINITY : Number(le);
			if (!(bound > state.lastLe)) throw new Error(`${name}: le=${le} does not rise`);
			if (sample.value < state.last) throw new Error(`${name}: buckets fall at le=${le}`);
			state.lastLe = bound;
			state.last = sample.value;
		}
	}
	for (const [key, state] of series) {
		if (state.lastLe !== Number.POSITIVE_INFINITY) throw new Error(`${name}${key}: no +Inf`);
		if (!state.sum || state.count !== state.last) throw new Error(`${name}${key}: sum or count wrong`);
	}
}
