/** What this gateway has under way in each group, which the groups' last states may not show yet. */
import type { InFlight, Route } from "../../routing/route.ts";

export interface Occupation {
  /** Its first token came: the prefill group is done with it. Safe to repeat. */
  prefilled(): void;
  /** It has ended. Safe to repeat. */
  ended(): void;
}

export interface Occupations {
  readonly inFlight: (group: string) => InFlight;
  /** Counts a request against the groups of its route, until it is told to have left them. */
  readonly occupy: (route: Route, promptTokens: number) => Occupation;
}

const nothing: InFlight = { requests: 0, promptTokens: 0 };

export function createOccupations(): Occupations {
  const groups = new Map<string, InFlight>();

  function add(name: string, requests: number, promptTokens: number): void {
    const present = groups.get(name) ?? nothing;
    const next = {
      requests: present.requests + requests,
      promptTokens: present.promptTokens + promptTokens,
    };
    if (next.requests === 0) groups.delete(name);
    else groups.set(name, next);
  }

  /** Returns what takes it back, once. */
  function count(name: string, promptTokens: number): () => void {
    add(name, 1, promptTokens);
    let counted = true;
    return () => {
      if (counted) add(name, -1, -promptTokens);
      counted = false;
    };
  }

  return {
    inFlight: (group) => groups.get(group) ?? nothing,
    occupy({ pool, group }, promptTokens) {
      const leaveGroup = count(group.group, promptTokens);
      const leavePool = count(pool.group, 0);
      return {
        prefilled: leaveGroup,
        ended() {
          leaveGroup();
          leavePool();
        },
      };
    },
  };
}
