/** A person's wish that a pool is balanced now, as an annotation with its time; it holds for a while. */
import type { DecodePool } from "../kube/object.ts";

export const rebalanceAnnotation = "csps.io/rebalance-asked";
export const rebalanceAskedMs = 120_000;

export function rebalanceAsked(pool: DecodePool, nowMs: number): boolean {
  const at = Date.parse(pool.metadata.annotations?.[rebalanceAnnotation] ?? "");
  return Number.isFinite(at) && nowMs - at < rebalanceAskedMs;
}

/** Disabled and not asked for: nothing is moved for balance. */
export function balances(pool: DecodePool, nowMs: number): boolean {
  return pool.spec.rebalance.mode === "Enabled" || rebalanceAsked(pool, nowMs);
}
