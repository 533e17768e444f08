import { expect, test } from "vitest";
import { type Deployment, missing } from "./serving.ts";

function deployment(observedGeneration: number, statuses: Record<string, string>): Deployment {
  const conditions = Object.entries(statuses).map(([type, status]) => ({
    type,
    status,
    reason: "Reason",
    message: `about ${type}`,
  }));
  return { metadata: { generation: 2 }, status: { observedGeneration, conditions } };
}

const GOOD = {
  TopologySatisfied: "True",
  EnginesReady: "True",
  StateStoreReachable: "True",
  Available: "True",
};

test("nothing is missing when all conditions hold for the present generation", () => {
  expect(missing(deployment(2, GOOD))).toEqual([]);
});

test("conditions of an older generation do not count", () => {
  expect(missing(deployment(1, GOOD))).toEqual(["the operator has not looked at it yet"]);
});

test("a condition that does not hold is named with its reason and message", () => {
  expect(missing(deployment(2, { ...GOOD, EnginesReady: "False" }))).toEqual([
    "EnginesReady=False (Reason): about EnginesReady",
  ]);
});

test("a condition that is absent is missing", () => {
  const { Available, ...rest } = GOOD;
  expect(missing(deployment(2, rest))).toEqual([`Available is not reported yet`]);
  expect(Available).toBe("True");
});
