import type { GangDesign, GangObject } from "./gang.ts";
import type { GangRecord } from "./record.ts";

/** One gang: what it is to be, and what is remembered of it. */
export interface GangView {
  readonly gang: GangObject;
  readonly design: GangDesign;
  readonly record: GangRecord;
}
