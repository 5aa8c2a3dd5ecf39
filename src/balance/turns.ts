/** What pickers that serve in turns tell their successor, so that a change of membership resets nobody. */
import type { Candidate, Picker } from "./picker.ts";

export interface TurnPicker<E extends Candidate> extends Picker<E> {
	/**
	 * How long each endpoint still waits for its next turn, as a fraction of its own period: 0 is next, 1 has just been
	 * served. Free of weights and of the number of endpoints, so it means the same to whichever picker follows.
	 */
	waits(): Map<E, number>;
}

export function isTurnPicker<E extends Candidate>(picker: Picker<E> | undefined): picker is TurnPicker<E> {
	return picker !== undefined && "waits" in picker;
}
