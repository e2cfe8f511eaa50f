/** Writes the types of both servers' HTTP from their OpenAPI documents: `src/api/*.gen.d.ts`. */
import { readFile, writeFile } from "node:fs/promises";
import openapi, { astToString } from "openapi-typescript";

for (const server of ["proxy", "market"]) {
  const document = new URL(`src/api/${server}.openapi.json`, import.meta.url);
  const tree = await openapi(JSON.parse(await readFile(document, "utf8")));
  await writeFile(new URL(`src/api/${server}.gen.d.ts`, import.meta.url), astToString(tree));
}
