/**
 * What a candidate does next about a lease, from what it last read and when it saw that change. Pure.
 *
 * Expiry is measured on the candidate's own monotonic clock, from the moment when it first saw the present record. The
 * times that the record carries are another machine's, so they are for people to read and never compared.
 */
import type { Lease } from "./object.ts";

export interface LeaseTerms {
  /** After so long without a renewal others may take the lease. */
  readonly durationMs: number;
  /** A leader that could not renew for so long stops leading; shorter than durationMs. */
  readonly renewDeadlineMs: number;
  /** Time between two tries. */
  readonly retryMs: number;
}

/** What every kube component uses: 15 s, 10 s, 2 s. */
export const defaultTerms: LeaseTerms = { durationMs: 15_000, renewDeadlineMs: 10_000, retryMs: 2_000 };

/** The last record that was read, and when this process first saw it. */
export interface ObservedLease {
  readonly lease: Lease;
  readonly seenAtMs: number;
}

export type LeaseStep =
  | { readonly kind: "create"; readonly transitions: number }
  /** Take it over: the next transition begins. */
  | { readonly kind: "acquire"; readonly transitions: number }
  | { readonly kind: "renew" }
  | { readonly kind: "wait"; readonly holder: string };

/** Keeps the time of the first sight when the record has not changed since. */
export function observeLease(before: ObservedLease | undefined, lease: Lease, nowMs: number): ObservedLease {
  const unchanged = before?.lease.metadata.resourceVersion === lease.metadata.resourceVersion;
  return unchanged ? before : { lease, seenAtMs: nowMs };
}

/** Seconds from here to now begin the count of a new lease. */
const firstTermEpochMs = Date.UTC(2020, 0, 1);

export interface Candidate {
  readonly identity: string;
  /** Whether this process believes that it leads now; a term that it lost is not taken up again. */
  readonly leads: boolean;
  readonly nowMs: number;
  readonly wallClockMs: number;
}

/**
 * `leaseTransitions` fences writes, so it must only ever grow. A lease that was deleted, with its namespace perhaps,
 * would start from zero again while ranks still hold a high fence and refuse everything; hence a new lease starts
 * from the seconds since 2020, which no number of hand-overs outruns.
 */
export function nextLeaseStep(observed: ObservedLease | undefined, candidate: Candidate): LeaseStep {
  if (observed === undefined) {
    return {
      kind: "create",
      transitions: Math.max(1, Math.floor((candidate.wallClockMs - firstTermEpochMs) / 1000)),
    };
  }
  const spec = observed.lease.spec ?? {};
  const holder = spec.holderIdentity ?? "";
  if (holder === candidate.identity && candidate.leads) return { kind: "renew" };
  const durationMs = (spec.leaseDurationSeconds ?? 0) * 1000;
  const held =
    holder !== "" && holder !== candidate.identity && candidate.nowMs < observed.seenAtMs + durationMs;
  return held ? { kind: "wait", holder } : { kind: "acquire", transitions: (spec.leaseTransitions ?? 0) + 1 };
}
