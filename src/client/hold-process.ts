/** Keeps the process from ending while something is awaited: timers of the clock do not. */

/** The result lets it go. */
export function holdProcess(): () => void {
	const { port1 } = new MessageChannel();
	port1.ref();
	return () => port1.close();
}
