/** Fisher's exact test, one-sided: how likely two shares differ so much by chance alone. Arithmetic only. */

// Exact below; Stirling's series with two terms is good to 1e-10 above.
const TABLE = logFactorials(32);
const HALF_LOG_TWO_PI = 0.5 * Math.log(2 * Math.PI);
// What the rest of the tail adds cannot be seen any more.
const NEGLIGIBLE = 1e-12;
// Smaller ones have fewer digits than a number has, or are none at all, and so is what follows from them.
const SMALLEST = 1e-300;

/**
 * The chance that of `hits + otherHits` hits among `of + otherOf` at least `hits` fall on the first group, if it is no different from the
 * other (R. A. Fisher, 1922: the tail of the hypergeometric distribution). Exact also for the smallest numbers.
 */
export function chanceOfSoMany(hits: number, of: number, otherHits: number, otherOf: number): number {
	const all = of + otherOf;
	const allHits = hits + otherHits;
	const last = Math.min(allHits, of);
	let term = Math.exp(logChoose(of, hits) + logChoose(otherOf, otherHits) - logChoose(all, allHits));
	// So far from the mean the tail is nothing, or all there is; adding it up would take as long as there are hits.
	if (term < SMALLEST) return hits * all > allHits * of ? 0 : 1;
	let sum = term;
	for (let k = hits; k < last; k++) {
		// Each term from the one before it.
		term *= ((of - k) / (k + 1)) * ((allHits - k) / (otherOf - allHits + k + 1));
		sum += term;
		if (term < sum * NEGLIGIBLE && k > (allHits * of) / all) break;
	}
	return Math.min(1, sum);
}

function logChoose(n: number, k: number): number {
	return logFactorial(n) - logFactorial(k) - logFactorial(n - k);
}

function logFactorial(n: number): number {
	const known = TABLE[n];
	if (known !== undefined) return known;
	return (n + 0.5) * Math.log(n) - n + HALF_LOG_TWO_PI + 1 / (12 * n) - 1 / (360 * n ** 3);
}

function logFactorials(count: number): readonly number[] {
	const logs = [0];
	for (let n = 1; n < count; n++) logs.push((logs[n - 1] as number) + Math.log(n));
	return Object.freeze(logs);
}
