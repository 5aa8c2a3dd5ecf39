/** The text of an answer, up to a limit: whoever answers may not be Nexus. */

/** Undefined where there is more than `bytesMax`; the rest is not read then. */
export async function boundedText({ body }: Response, bytesMax: number): Promise<string | undefined> {
	if (body === null) return "";
	const decoder = new TextDecoder();
	let text = "";
	let bytes = 0;
	for await (const chunk of body) {
		bytes += chunk.byteLength;
		if (bytes > bytesMax) return undefined;
		text += decoder.decode(chunk, { stream: true });
	}
	return text + decoder.decode();
}
