import { defineConfig } from "vitest/config";

/** One cluster for all scenarios, in order: they disturb it, and each waits until it is whole again. */
export default defineConfig({
  test: {
    root: import.meta.dirname,
    include: ["*.e2e.ts"],
    globalSetup: ["setup.ts"],
    fileParallelism: false,
    testTimeout: 60_000,
    hookTimeout: 120_000,
    teardownTimeout: 180_000,
  },
});
