/** The market's HTTP. */
import type { components, paths } from "./market.gen.d.ts";
import { Api, browserHttp } from "./http.ts";

export type Schemas = components["schemas"];

export const api = new Api<paths>(browserHttp);
