import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["{crds,operator,runtime,charts,manifests,e2e}/**/*.test.ts"],
    exclude: ["**/node_modules/**", "e2e/scenarios/**"],
    // Two cores: more workers only make the component tests' control planes time out.
    maxWorkers: 2,
    testTimeout: 90_000,
    hookTimeout: 180_000,
  },
});
