/** The few numbers that a measurement is boiled down to. */

/** Middle value; the mean of the two middle ones for an even count. NaN for none. */
export function median(values: readonly number[]): number {
	if (values.length === 0) return Number.NaN;
	const sorted = Float64Array.from(values).sort();
	const middle = sorted.length >> 1;
	const upper = sorted[middle] ?? Number.NaN;
	return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** Nearest-rank percentile of values sorted ascending, `fraction` in 0..1. NaN for none. */
export function percentile(sorted: ArrayLike<number>, fraction: number): number {
	if (sorted.length === 0) return Number.NaN;
	const rank = Math.min(sorted.length, Math.max(1, Math.ceil(fraction * sorted.length)));
	return sorted[rank - 1] ?? Number.NaN;
}

/** Least-squares slope of y over x: units of y per unit of x. 0 where x does not vary. */
export function slope(points: readonly { readonly x: number; readonly y: number }[]): number {
	const n = points.length;
	let meanX = 0;
	let meanY = 0;
	for (const { x, y } of points) {
		meanX += x / n;
		meanY += y / n;
	}
	let covariance = 0;
	let variance = 0;
	for (const { x, y } of points) {
		covariance += (x - meanX) * (y - meanY);
		variance += (x - meanX) ** 2;
	}
	return variance === 0 ? 0 : covariance / variance;
}
