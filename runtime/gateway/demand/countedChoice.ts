/** A choice whose prompt is counted from its first step to its end, whoever ends it. */
import type { ChoiceEvent } from "../serving/choice.ts";
import type { DemandCount } from "./demandMetrics.ts";

export interface CountedPrompt {
  readonly promptTokens: number;
  /** Tokens that came so far. */
  readonly outputTokens: () => number;
}

export async function* countedChoice(
  demand: Pick<DemandCount, "arrived">,
  { promptTokens, outputTokens }: CountedPrompt,
  events: AsyncGenerator<ChoiceEvent, void, undefined>,
): AsyncGenerator<ChoiceEvent, void, undefined> {
  const count = demand.arrived(promptTokens);
  try {
    for await (const event of events) {
      count.reached(event.type === "progress" ? "prefilling" : "decoding");
      yield event;
    }
  } finally {
    count.ended(outputTokens());
  }
}
