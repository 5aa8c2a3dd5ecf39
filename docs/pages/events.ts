/** docs/events.md: every built-in event with its data, made from the catalogue and the schemas that judge them. */
import { eventsPage as eventsText } from "../../src/nexus/schemas/events-page.ts";
import type { Page } from "../generate.ts";

export const eventsPage: Page = { file: "docs/events.md", render: eventsText };
