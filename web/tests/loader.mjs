/** Lets Node 20 run our TypeScript: types are taken off while a module is loaded. */
import { register } from "node:module";

register("./hooks.mjs", import.meta.url);
