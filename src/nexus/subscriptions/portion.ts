/** What a node has of the subscriptions, where other nodes have the rest. */
export interface Portion {
	/** Whether one of this name may be made or changed here at this moment: it is here, and not on its way to another node. */
	readonly mayChange: (subscription: string) => boolean;
	/** For one that is being opened: whether this node may still deliver it. It never turns true again. */
	readonly guardOf: (subscription: string) => () => boolean;
	/** Of all names, 0 to 1. */
	readonly part: () => number;
}
