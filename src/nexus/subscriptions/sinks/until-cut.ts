/** What cannot be cut off itself is waited for no longer than the try that needs it goes on. */

/** Undefined where the signal came first. */
export async function untilCut<T>(work: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
	const { promise, resolve } = Promise.withResolvers<undefined>();
	const onAbort = (): void => resolve(undefined);
	signal.addEventListener("abort", onAbort);
	try {
		return await Promise.race([work, promise]);
	} finally {
		signal.removeEventListener("abort", onAbort);
	}
}
