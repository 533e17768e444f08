/** Every generated file of the repository: path from its root → text. Nothing is read or written here. */
import { dump } from "js-yaml";
import { pythonModule } from "../../runtime/wire/generate/python.ts";
import { pythonMetrics } from "../../runtime/wire/generate/pythonMetrics.ts";
import { wireReference } from "../../runtime/wire/generate/reference.ts";
import { customResourceDefinition, group } from "./definition.ts";
import { kinds } from "./kinds.ts";
import { apiReference } from "./reference.ts";
import { chartReadme, valuesSchema } from "./chart.ts";

const notice = "# Generated from crds/schema by `npm run generate`; do not edit.\n";

export function outputs(): Map<string, string> {
  const definitions = kinds.map((kind): [string, string] => [
    `${group}_${kind.plural}.yaml`,
    notice + dump(customResourceDefinition(kind), { lineWidth: 110, noRefs: true }),
  ]);
  return new Map([
    ...definitions.map(([name, text]): [string, string] => [`crds/${name}`, text]),
    // Helm installs CRDs only from a folder inside the chart.
    ...definitions.map(([name, text]): [string, string] => [`charts/csps/crds/${name}`, text]),
    ["runtime/engine/csps_engine/wire/generated.py", pythonModule()],
    ["runtime/engine/csps_engine/wire/engine_metrics.py", pythonMetrics()],
    ["docs/reference/api.md", apiReference()],
    ["docs/reference/control-api.md", wireReference()],
    ["charts/csps/values.schema.json", valuesSchema()],
    ["charts/csps/README.md", chartReadme()],
  ]);
}
