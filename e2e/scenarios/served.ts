/** The quickstart's deployment under faults: whole before each, and asked through a forward of the test's own. */
import { afterEach, beforeAll, beforeEach } from "vitest";
import type { Forward } from "../quickstart/forward.ts";
import { stream } from "./faults.ts";
import type { Completion } from "./gateway.ts";
import { healthy, openGateway } from "./world.ts";

const HEALED_MS = 8 * 60_000;
const HOOK_MS = 20 * 60_000;

export interface Served {
  /** Of the gateway, for the test that runs. */
  readonly url: string;
  /** What a stream answers when nothing happens. */
  readonly undisturbed: Completion;
}

/** Registers the hooks of a file; what it returns is there once a test runs. */
export function servedHealthy(): Served {
  let door: Forward | undefined;
  let undisturbed: Completion | undefined;
  beforeAll(async () => {
    await healthy(HEALED_MS);
    const first = await openGateway();
    undisturbed = await stream(first.url);
    first.close();
  }, HOOK_MS);
  beforeEach(async () => {
    await healthy(HEALED_MS);
    door = await openGateway();
  }, HOOK_MS);
  afterEach(() => {
    door?.close();
  });
  return {
    get url() {
      return known(door).url;
    },
    get undisturbed() {
      return known(undisturbed);
    },
  };
}

function known<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("no test runs yet");
  return value;
}
