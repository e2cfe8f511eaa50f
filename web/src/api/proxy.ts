/** The proxy's HTTP. */
import type { components, paths } from "./proxy.gen.d.ts";
import { Api, browserHttp } from "./http.ts";

export type Schemas = components["schemas"];
export type Overview = Schemas["OverviewView"];
export type Model = Schemas["ModelEntry"];
export type Position = Schemas["PositionView"];

export const PREFIX = "/api/current";
export const api = new Api<paths>(browserHttp);

/** Says for which position a signed-in wallet asks. */
export function asPosition(tokenId: string): { readonly headers: Readonly<Record<string, string>> } {
  return { headers: { "x-current-position": tokenId } };
}
