/** Where the values of a policy stand, asked by their path. */
import type { Lines } from "./fault.ts";
import type { Place } from "./snapshot.ts";
import { locate, type MapNode, type Node, type Path } from "./tree.ts";

export class Places {
	readonly #root: Node;
	readonly #lines: Lines;

	constructor(root: Node, lines: Lines) {
		this.#root = root;
		this.#lines = lines;
	}

	/** Of the key that leads to `path`, or the nearest one above it. */
	of(path: Path): Place {
		const { node, keySpan } = locate(this.#root, path);
		return this.#lines.place((keySpan ?? node).start);
	}

	/** Of every value that stands in the mapping at `path`, by its key: `timeout.request`. Keys for which `skip` holds are left out. */
	below(path: Path, skip: (key: string) => boolean): Map<string, Place> {
		const places = new Map<string, Place>();
		const { node, depth } = locate(this.#root, path);
		if (depth === path.length && node.kind === "map") this.#collect(node, "", skip, places);
		return places;
	}

	#collect({ entries }: MapNode, prefix: string, skip: (key: string) => boolean, places: Map<string, Place>): void {
		for (const [key, { keySpan, value }] of entries) {
			const name = `${prefix}${key}`;
			if (prefix === "" && skip(key)) continue;
			if (value.kind === "map") this.#collect(value, `${name}.`, skip, places);
			else places.set(name, this.#lines.place(keySpan.start));
		}
	}
}
