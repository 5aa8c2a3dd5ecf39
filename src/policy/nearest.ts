/** The known word that someone most likely meant. */

/** The candidate with the fewest edits from `word`, if it is near enough to be a typing error. */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
	const given = word.toLowerCase();
	// A third of the letters, and never all of them: `endpoint` finds `endpoints`, `u` does not find `v`.
	let least = Math.min(Math.floor(Math.max(3, given.length) / 3) + 1, given.length);
	let found: string | undefined;
	for (const candidate of candidates) {
		if (Math.abs(candidate.length - given.length) >= least) continue;
		const distance = editDistance(given, candidate.toLowerCase());
		if (distance < least) {
			least = distance;
			found = candidate;
		}
	}
	return found;
}

/** Optimal string alignment: insertions, deletions, substitutions and swapped neighbours count one each. */
function editDistance(a: string, b: string): number {
	let beforeLast: number[] = [];
	let last = Array.from({ length: b.length + 1 }, (_, i) => i);
	for (let i = 1; i <= a.length; i++) {
		const row = [i];
		for (let j = 1; j <= b.length; j++) {
			const same = a[i - 1] === b[j - 1];
			let cost = Math.min((last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (last[j - 1] ?? 0) + (same ? 0 : 1));
			if (a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) cost = Math.min(cost, (beforeLast[j - 2] ?? Number.POSITIVE_INFINITY) + 1);
			row.push(cost);
		}
		beforeLast = last;
		last = row;
	}
	return last[b.length] ?? 0;
}
