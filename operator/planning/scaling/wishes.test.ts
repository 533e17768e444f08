import { expect, it } from "vitest";
import { aDecode, aDemand, anInput, aPolicy } from "./testing/builders.ts";
import { wishDecode } from "./wishes.ts";

it("gives up a rank only where the others hold its load too, N / (N - 1) of what each has, with room to spare", () => {
  const wished = (arrivalsPerSecond: number, consolidation: number): number => {
    const decode = aDecode({ arrivalsPerSecond, liveContextTokens: 0, p90TbtSeconds: 0 });
    const current = { groups: 1, groupSize: 1, decodeRanks: 4 };
    const input = anInput({ current, policy: aPolicy({ consolidation, tbtSeconds: 0.02 }) });
    return wishDecode(input, aDemand({ classes: [], decode })).wished;
  };
  const rates = Array.from({ length: 40 }, (_, index) => index + 1);
  // Three hold it just so: the fourth would be asked for again at the next prompt.
  expect(rates.filter((rate) => wished(rate, 1) === 3 && wished(rate, 0.8) === 4)).not.toEqual([]);
  expect(rates.filter((rate) => wished(rate, 0.8) === 3)).not.toEqual([]);
});
