/** What the server's requirements are called. Pure. */
import { requirementNames } from "../../text.ts";

/** Returns a requirement's name for people; one that is unknown here is shown as the server has it. */
export function nameOf(requirement: string): string {
  return requirementNames[requirement] ?? requirement;
}
