/** The model's descriptor and what speaks for it, fetched from a rank once and again when its KV format changes. */
import type { RankClient } from "../../wire/rankClient.ts";
import type { Speech } from "../speech/speech.ts";
import { createSpeech } from "../speech/speech.ts";
import type { RankView } from "./rankView.ts";

export interface ModelSource {
  /** The speech of the present model, or undefined while no rank has told of it. */
  current(): Promise<Speech | undefined>;
}

export function createModelSource(
  client: RankClient,
  view: RankView,
  warn: (message: string, detail: Record<string, unknown>) => void,
): ModelSource {
  let held: Speech | undefined;
  let fetching: Promise<Speech | undefined> | undefined;

  async function fetchSpeech(): Promise<Speech | undefined> {
    const loaded = view.states().filter(({ phase }) => phase !== "loading" && phase !== "failed");
    for (const { rank } of loaded) {
      try {
        return createSpeech(await client.model(rank));
      } catch (error) {
        warn("a rank did not describe its model", { rankId: rank.rankId, reason: String(error) });
        view.suspect(rank.rankId);
      }
    }
    return undefined;
  }

  return {
    async current() {
      const formats = view.groups().map(({ kvFormat }) => kvFormat);
      const stale = held !== undefined && formats.length > 0 && !formats.includes(held.descriptor.kvFormat);
      if (held !== undefined && !stale) return held;
      fetching ??= fetchSpeech().finally(() => {
        fetching = undefined;
      });
      held = (await fetching) ?? held;
      return held;
    },
  };
}
