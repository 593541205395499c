// Prints what AsyncAPI's own parser finds wrong with a document, one line each; exits 1 if anything is an error.
//
//   node check.mjs FILE [NODE_MODULES]
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";

const [file, modules = "."] = process.argv.slice(2);
const { Parser, DiagnosticSeverity } = createRequire(resolve(modules, "x"))("@asyncapi/parser");
const { diagnostics } = await new Parser().parse(readFileSync(file, "utf8"));
for (const { severity, code, path, message } of diagnostics) {
  console.log(`${DiagnosticSeverity[severity]} ${code} at ${path.join(".")}: ${message}`);
}
process.exit(diagnostics.some(({ severity }) => severity === DiagnosticSeverity.Error) ? 1 : 0);
