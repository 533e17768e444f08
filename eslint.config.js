/**
 * Types checked strictly, rooms kept apart, files kept short. Few rules and no waivers: inline directives are
 * switched off, so that a rule either holds everywhere or is changed here.
 */
import boundaries from "eslint-plugin-boundaries";
import tseslint from "typescript-eslint";

/** Every room: the folder that it is, and the rooms that it may import from. */
const rooms = {
  crds: { folder: "crds/schema", imports: [] },
  charts: { folder: "charts", imports: ["crds"] },
  generate: { folder: "crds/generate", imports: ["crds", "wire"] },
  wire: { folder: "runtime/wire", imports: [] },
  state: { folder: "runtime/state", imports: ["wire"] },
  // Which group a request goes to: pure, so that the simulator asks the gateway's own function.
  routing: { folder: "runtime/routing", imports: [] },
  gateway: { folder: "runtime/gateway", imports: ["routing", "state", "wire"] },
  planning: { folder: "operator/planning", imports: ["crds"] },
  kube: { folder: "operator/kube", imports: ["crds"] },
  observability: { folder: "operator/observability", imports: ["kube"] },
  // What the controllers of both gangs share: rank pods, rosters, the engines' answers.
  ranks: {
    folder: "operator/ranks",
    imports: ["crds", "kube", "observability", "planning", "state", "wire"],
  },
  controllers: {
    folder: "operator/controllers/*",
    imports: ["crds", "kube", "observability", "planning", "ranks", "records", "state", "wire"],
  },
  autoscaler: {
    folder: "operator/autoscaler",
    imports: ["crds", "kube", "observability", "planning", "ranks", "records", "state", "wire"],
  },
  // Keeps KV balanced over the ranks of each decode pool.
  rebalancer: {
    folder: "operator/rebalancer",
    imports: ["crds", "kube", "observability", "planning", "ranks", "records", "state", "wire"],
  },
  // The full records of decisions, written by whoever decides and read by the command line.
  records: { folder: "operator/records", imports: ["crds", "kube", "planning", "ranks"] },
  // Plays traces against the production planners; reads files, speaks to no cluster.
  simulator: { folder: "operator/simulator", imports: ["crds", "planning", "routing"] },
  // A user's side of the cluster: it reads, and asks the operator's own planning what it would do.
  cli: {
    folder: "operator/cli",
    imports: ["crds", "kube", "planning", "ranks", "rebalancer", "records", "state", "wire"],
  },
  bin: {
    folder: "operator/bin",
    imports: [
      "autoscaler",
      "cli",
      "controllers",
      "crds",
      "kube",
      "observability",
      "planning",
      "ranks",
      "rebalancer",
      "records",
      "simulator",
      "state",
      "wire",
    ],
  },
  e2e: { folder: "e2e", imports: ["crds", "generate", "state", "wire"] },
};

const tests = ["**/*.test.ts", "**/*.e2e.ts", "**/testing/**", "**/*.cases.ts"];

const clientNode = {
  regex: "^@kubernetes/client-node",
  message: "Only operator/kube speaks to the Kubernetes client library; import from there.",
};
const redis = { regex: "^ioredis", message: "Only runtime/state speaks to Redis; use its port." };

/** @param {...{regex: string, message: string}} patterns */
const refuse = (...patterns) => ({ "no-restricted-imports": ["error", { patterns }] });

export default tseslint.config(
  { ignores: ["node_modules/", "dist/", "coverage/", "runtime/engine/", "**/.venv/"] },
  { linterOptions: { noInlineConfig: true, reportUnusedDisableDirectives: "error" } },
  {
    files: ["**/*.ts"],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      "@typescript-eslint/switch-exhaustiveness-check": [
        "error",
        { considerDefaultExhaustiveForUnions: true },
      ],
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", ignoreRestSiblings: true }],
      eqeqeq: "error",
      "max-lines": ["error", 400],
    },
  },
  { files: tests, rules: { "max-lines": ["error", 600] } },
  {
    files: ["**/*.ts"],
    plugins: { boundaries },
    settings: {
      "boundaries/elements": Object.entries(rooms).map(([type, { folder }]) => ({
        type,
        pattern: folder,
        partialMatch: false,
        ...(folder.endsWith("*") && { capture: ["kind"] }),
      })),
      "boundaries/files": [{ category: "test", pattern: tests }],
    },
    rules: {
      "boundaries/dependencies": [
        "error",
        {
          default: "disallow",
          message:
            "{{from.element.types}} may not import from {{to.element.types}}; see the rooms in eslint.config.js.",
          policies: [
            ...Object.entries(rooms).map(([type, { imports }]) => ({
              from: { element: { type } },
              allow: { to: { element: { types: { anyOf: imports } } } },
            })),
            // Tests may start the programs that they are tried against.
            { from: { file: { categories: "test" } }, allow: { to: { element: { type: "e2e" } } } },
          ],
        },
      ],
      ...refuse(clientNode, redis),
    },
  },
  { files: ["operator/kube/**"], rules: refuse(redis) },
  { files: ["runtime/state/**"], rules: refuse(clientNode) },
  {
    // Decisions are functions of what was observed, so that they can be replayed.
    files: ["operator/planning/**"],
    ignores: tests,
    rules: {
      ...refuse({ regex: "^[^.]", message: "planning is pure: no npm package and no node: module." }),
      "no-restricted-globals": [
        "error",
        ...[
          "process",
          "fetch",
          "console",
          "performance",
          "crypto",
          "setTimeout",
          "setInterval",
          "setImmediate",
        ],
      ],
      "no-restricted-properties": [
        "error",
        { object: "Date", property: "now", message: "planning takes the time as an argument." },
        { object: "Math", property: "random", message: "planning takes a seed as an argument." },
      ],
      "no-restricted-syntax": [
        "error",
        {
          selector: "NewExpression[callee.name='Date'][arguments.length=0]",
          message: "planning takes the time as an argument.",
        },
      ],
    },
  },
);
