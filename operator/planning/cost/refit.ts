/**
 * The prefill law follows what engines report: recursive least squares with forgetting, on the relative error, over
 * three multipliers of the prior law (fixed, linear, quadratic). Communication is taken from the model as it is.
 *
 *   r = [fixed, a L/g, b L^2/g] / (T - exposed)      1 = r . m
 *   k = P r / (f + r P r),  m += k (1 - r . m),  P = (P - k r P) / f
 *
 * What makes it hard: reports of one length say nothing of the other terms, and forgetting would let their
 * uncertainty grow without end; so the covariance is capped, and multipliers stay within [1/20, 20].
 */
import {
  attentionShare,
  exposedSeconds,
  prefillSeconds,
  type CostProfile,
  type PrefillLaw,
} from "./profile.ts";

export interface PrefillReport {
  readonly tokens: number;
  readonly degree: number;
  /** Measured, from start to first token, without the queue. */
  readonly seconds: number;
  /** Of other ranks' keys, what its attention fetched; absent when it was exact. */
  readonly sparse?: { readonly fetchedShare?: number | undefined } | undefined;
}

export interface Refit {
  readonly prior: PrefillLaw;
  readonly multipliers: Vector;
  readonly covariance: readonly [Vector, Vector, Vector];
  readonly accepted: number;
  readonly refused: number;
}

type Vector = readonly [number, number, number];

const forgetting = 0.99;
/** In units of a report's variance: half of a multiplier, where reports scatter by a twentieth. */
const priorVariance = 100;
const maxVariance = 12 * priorVariance;
const widest = 20;
const absurdRatio = 100;

export function startRefit(prior: PrefillLaw): Refit {
  const covariance: Refit["covariance"] = [
    [priorVariance, 0, 0],
    [0, priorVariance, 0],
    [0, 0, priorVariance],
  ];
  return { prior, multipliers: [1, 1, 1], covariance, accepted: 0, refused: 0 };
}

/** The law with what was learnt. */
export function refittedLaw(refit: Refit): PrefillLaw {
  const { prior, multipliers } = refit;
  return {
    fixedSeconds: prior.fixedSeconds * multipliers[0],
    secondsPerToken: prior.secondsPerToken * multipliers[1],
    secondsPerTokenSquared: prior.secondsPerTokenSquared * multipliers[2],
  };
}

/** One report taken in; a report that can't be true is counted and changes nothing. */
export function refitWith(refit: Refit, profile: CostProfile, report: PrefillReport): Refit {
  const ratios = ratiosOf(refit.prior, profile, report);
  if (ratios === undefined) return { ...refit, refused: refit.refused + 1 };
  const { covariance, multipliers } = refit;
  const projected = apply(covariance, ratios);
  const gain = scale(projected, 1 / (forgetting + dot(ratios, projected)));
  const miss = 1 - dot(ratios, multipliers);
  const row = (index: 0 | 1 | 2): Vector => {
    const reduced = subtract(covariance[index], scale(projected, gain[index]));
    return scale(reduced, 1 / forgetting);
  };
  const next: Refit["covariance"] = [row(0), row(1), row(2)];
  const trace = next[0][0] + next[1][1] + next[2][2];
  const shrink = trace > maxVariance ? maxVariance / trace : 1;
  return {
    prior: refit.prior,
    multipliers: clampEach(add(multipliers, scale(gain, miss))),
    covariance: [scale(next[0], shrink), scale(next[1], shrink), scale(next[2], shrink)],
    accepted: refit.accepted + 1,
    refused: refit.refused,
  };
}

function ratiosOf(prior: PrefillLaw, profile: CostProfile, report: PrefillReport): Vector | undefined {
  const { tokens, degree, seconds } = report;
  if (!(Number.isFinite(tokens) && tokens >= 1 && Number.isInteger(degree) && degree >= 1)) return undefined;
  if (!(Number.isFinite(seconds) && seconds > 0)) return undefined;
  const predicted = prefillSeconds({ ...profile, law: prior }, tokens, degree);
  if (!(seconds < predicted * absurdRatio && seconds > predicted / absurdRatio)) return undefined;
  const split = seconds - exposedSeconds(profile, tokens, degree);
  // Faster than communication alone: the link's rate is wrong, which these three terms can't say.
  if (split <= seconds * 0.05) return undefined;
  return [
    prior.fixedSeconds / split,
    (prior.secondsPerToken * tokens) / degree / split,
    (prior.secondsPerTokenSquared * tokens ** 2 * attentionShare(profile, tokens, degree)) / degree / split,
  ];
}

const clampEach = (v: Vector): Vector => [clamp(v[0]), clamp(v[1]), clamp(v[2])];
const clamp = (value: number): number => Math.min(widest, Math.max(1 / widest, value));
const dot = (a: Vector, b: Vector): number => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const scale = (v: Vector, by: number): Vector => [v[0] * by, v[1] * by, v[2] * by];
const add = (a: Vector, b: Vector): Vector => [a[0] + b[0], a[1] + b[1], a[2] + b[2]];
const subtract = (a: Vector, b: Vector): Vector => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
const apply = (m: Refit["covariance"], v: Vector): Vector => [dot(m[0], v), dot(m[1], v), dot(m[2], v)];
