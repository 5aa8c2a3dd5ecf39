/** When a success rate is an outlier: mean and population standard deviation of the hosts' rates, as in Envoy. */

export interface SuccessRates {
	/** 0..100, the mean of the hosts that had enough requests; -1 where too little is known. */
	readonly successRateAverage: number;
	/** 0..100, what a host must not fall below; it may be negative, then none can. -1 where too little is known. */
	readonly threshold: number;
}

export const UNKNOWN_RATES: SuccessRates = Object.freeze({ successRateAverage: -1, threshold: -1 });

/** `rates`: 0..100 for each host, not empty. Population deviation: these are all the hosts, not a sample of them. */
export function successRates(rates: readonly number[], stdevFactor: number): SuccessRates {
	if (rates.length === 0) return UNKNOWN_RATES;
	let sum = 0;
	for (const rate of rates) sum += rate;
	const mean = sum / rates.length;
	let squares = 0;
	for (const rate of rates) squares += (rate - mean) * (rate - mean);
	return { successRateAverage: mean, threshold: mean - stdevFactor * Math.sqrt(squares / rates.length) };
}
