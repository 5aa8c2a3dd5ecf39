/** The token bucket as arithmetic: one number per bucket says all (GCRA, ITU-T I.371). Knows no clock and no keys. */

// A bucket is the time at which it will be full again, `fullAtNs`. A request pushes it back by one period, and passes while the
// bucket is not more than `burst` periods from full:
//
//   now                fullAt                    now + depth
//    |-----------|-----------|-----------|-----------|        4 = burst, 2 taken, 2 left
//
// Nanoseconds in doubles: whole numbers are exact up to 2^53, which is 104 days after the origin; after that they come in steps of 2,
// which is still a ten-thousandth of the period of the highest rate.

const NS_PER_SECOND = 1e9;

export class Gcra {
	/** What one request costs, whole nanoseconds. Rounded down, so the rate is never below what was asked, and above it by less than
	 * rate / 1e9 of itself: one in a million at 1,000/s. */
	readonly periodNs: number;
	readonly depthNs: number;

	/** Both finite; at least one request fits, and a period is at least a nanosecond. */
	constructor(requestsPerSecond: number, burst: number) {
		if (!(requestsPerSecond > 0 && Number.isFinite(requestsPerSecond))) throw new RangeError(`no rate: ${requestsPerSecond}`);
		if (!(burst >= 0 && Number.isFinite(burst))) throw new RangeError(`no burst: ${burst}`);
		this.periodNs = Math.max(1, Math.floor(NS_PER_SECOND / requestsPerSecond));
		this.depthNs = this.periodNs * Math.max(1, Math.floor(burst));
	}

	/** Until one request fits; 0 or less: it fits now. */
	waitNs(fullAtNs: number, nowNs: number): number {
		return (fullAtNs > nowNs ? fullAtNs : nowNs) + this.periodNs - nowNs - this.depthNs;
	}

	/** The bucket after one request more, whether or not it fits. */
	take(fullAtNs: number, nowNs: number): number {
		return (fullAtNs > nowNs ? fullAtNs : nowNs) + this.periodNs;
	}

	/** Requests that fit at this moment, a whole number. */
	remaining(fullAtNs: number, nowNs: number): number {
		return Math.max(0, Math.floor((this.depthNs - Math.max(0, fullAtNs - nowNs)) / this.periodNs));
	}
}
