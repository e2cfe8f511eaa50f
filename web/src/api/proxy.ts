/** The proxy's HTTP. */
import type { components, paths } from "./proxy.gen.d.ts";
import { Api, browserHttp } from "./http.ts";

export type Schemas = components["schemas"];
export type Overview = Schemas["OverviewView"];
export type Model = Schemas["ModelEntry"];
export type Position = Schemas["PositionView"];

export const PREFIX = "/api/current";
export const api = new Api<paths>(browserHttp);
