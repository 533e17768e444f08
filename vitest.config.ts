import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["{crds,operator,runtime,charts,manifests,e2e}/**/*.test.ts"],
    exclude: ["**/node_modules/**", "e2e/scenarios/**"],
    setupFiles: ["e2e/suite/propertySeed.ts"],
    // Two cores: more workers only make the component tests' control planes time out.
    maxWorkers: 2,
    // A test is told to fail by what it awaits; these only end what hangs on a machine that is busy with other work too.
    testTimeout: 300_000,
    hookTimeout: 300_000,
  },
});
