/**
 * What the gateways of a deployment tell each other, through Redis, of the prompts that pools hold: one that has just
 * started, or has not seen a prompt itself, routes as the others do. Nothing waits for it, and while Redis is away each
 * goes by what it sent itself. A Redis that has lost its data is told again by each of what it knows.
 */
import type { ClusterState } from "../../state/clusterState.ts";
import type { KeptPrefixes, PrefixMemory } from "./prefixMemory.ts";

export interface SharedPrefixes extends PrefixMemory {
  start(): void;
  stop(): void;
  /** Tells and learns once; for tests. */
  exchange(): Promise<void>;
}

const everyMs = 2_000;
/** A page holds several calls' notes, all of which may have one time: the next page begins with the time of the last note. */
const keysPerNote = 1_000;
const notesPerPage = 5_000;
/** Of one exchange; a gateway that is further behind catches up with the next ones. */
const mostPages = 4;
/** A note may be under way for so long, and clocks differ. */
const overlapMs = 3_000;
/** What could not be told for long is not worth telling. */
const mostUntold = 100_000;
/** Of what a gateway knows, told again to a Redis that has lost it; Redis keeps twice as many. */
const mostToldAgain = 50_000;

type Notes = Pick<ClusterState, "notePrefixes" | "listPrefixes">;

export function sharePrefixes(own: KeptPrefixes, state: Notes | undefined): SharedPrefixes {
  /** By key, the pool. */
  let untold = new Map<string, string>();
  let sinceMs = 0;
  let era: string | undefined;
  let timer: NodeJS.Timeout | undefined;

  /** What Redis does not take, and what would come after it, is told by the next exchange. */
  async function tell(clusterState: Notes): Promise<void> {
    const telling = untold;
    untold = new Map();
    let taken = true;
    for (const [pool, keys] of byPool(telling)) {
      for (let first = 0; first < keys.length; first += keysPerNote) {
        const some = keys.slice(first, first + keysPerNote);
        taken &&= (await clusterState.notePrefixes(pool, some)).ok;
        if (!taken) keep(pool, some);
      }
    }
  }

  /** What came meanwhile is newer. */
  function keep(pool: string, keys: readonly string[]): void {
    if (untold.size > mostUntold) return;
    for (const key of keys) if (!untold.has(key)) untold.set(key, pool);
  }

  async function learn(clusterState: Notes): Promise<void> {
    for (let page = 0; page < mostPages; page += 1) {
      const answer = await clusterState.listPrefixes(sinceMs, notesPerPage);
      if (!answer.ok) return;
      const { notes, untilMs } = answer.value;
      if (era !== undefined && answer.value.era !== era) untold = own.newest(mostToldAgain);
      era = answer.value.era;
      for (const { pool, key } of notes) own.note(pool, [key]);
      if (notes.length < notesPerPage) {
        sinceMs = Math.max(sinceMs, untilMs - overlapMs);
        return;
      }
      // Never for ever: of more than a page of one time the rest is passed over.
      sinceMs = untilMs > sinceMs ? untilMs : sinceMs + 1;
    }
  }

  async function exchange(): Promise<void> {
    if (state === undefined) return;
    await tell(state);
    await learn(state);
  }

  return {
    share: (pool, keys) => own.share(pool, keys),
    note(pool, keys) {
      own.note(pool, keys);
      if (state === undefined || untold.size > mostUntold) return;
      for (const key of keys) untold.set(key, pool);
    },
    exchange,
    start() {
      let busy = false;
      timer = setInterval(() => {
        if (busy) return;
        busy = true;
        void exchange().finally(() => (busy = false));
      }, everyMs);
    },
    stop() {
      clearInterval(timer);
    },
  };
}

function byPool(keys: ReadonlyMap<string, string>): Map<string, string[]> {
  const pools = new Map<string, string[]>();
  for (const [key, pool] of keys) {
    const list = pools.get(pool);
    if (list === undefined) pools.set(pool, [key]);
    else list.push(key);
  }
  return pools;
}
