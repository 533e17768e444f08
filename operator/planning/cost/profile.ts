/** A model on a kind of hardware, with the law of its prefill time: data only, so that decisions can be recorded. */
import { slowestLink, type Hardware } from "./hardware.ts";
import { cheaperMode } from "./mode.ts";
import type { ModelShape } from "./modelShape.ts";
import { attentionFlops, prefillLayer } from "./prefillLayer.ts";
import type { PrefillMode, Selection } from "./selection.ts";

/** T(L, g) = fixed + perToken L / g + perTokenSquared L^2 / g + exposed communication. */
export interface PrefillLaw {
  readonly fixedSeconds: number;
  readonly secondsPerToken: number;
  readonly secondsPerTokenSquared: number;
}

export interface CostProfile {
  readonly model: ModelShape;
  readonly hardware: Hardware;
  /** GPUs of one rank. */
  readonly tensorDegree: number;
  /** auto: per degree, the exchange that moves fewer bytes. */
  readonly mode: "auto" | PrefillMode;
  readonly law: PrefillLaw;
  /** The law was measured with what links take in it, and nobody knows how much of it that is. */
  readonly linksInLaw?: true;
  /** Attention of prompts that are long enough and spread over ranks; without it all of it is dense. */
  readonly sparse?: SparsePrefill;
}

export interface SparsePrefill {
  readonly selection: Selection;
  /** Prompts of at most so many tokens stay dense. */
  readonly denseUpToTokens: number;
}

const dense: Selection = { kind: "dense" };

/** A profile whose law follows from the hardware's rates alone; reports refine it (refit.ts). */
export function deriveProfile(model: ModelShape, hardware: Hardware, tensorDegree: number): CostProfile {
  return { model, hardware, tensorDegree, mode: "auto", law: deriveLaw(model, hardware, tensorDegree) };
}

function deriveLaw(model: ModelShape, hardware: Hardware, tensorDegree: number): PrefillLaw {
  const tokens = 65_536;
  const shape = { tokens, degree: 1, tensorDegree, mode: "allToAll", selection: dense } as const;
  const layer = prefillLayer(model, hardware, shape);
  const attention = layer.attentionSeconds;
  const proportional = layer.seconds - attention - hardware.gpu.layerSeconds;
  const latencies = tensorDegree === 1 ? 0 : 4 * hardware.nodeLink.latencySeconds;
  const headBytes = model.vocabulary * model.hidden * model.bytesPerElement;
  const head = headBytes / tensorDegree / hardware.gpu.weightBytesPerSecond;
  return {
    fixedSeconds: model.layers * (hardware.gpu.layerSeconds + latencies) + head,
    secondsPerToken: (model.layers * (proportional - latencies)) / tokens,
    secondsPerTokenSquared: (model.layers * attention) / tokens ** 2,
  };
}

function selectionOf({ sparse }: CostProfile, tokens: number, degree: number): Selection {
  return sparse !== undefined && degree > 1 && tokens > sparse.denseUpToTokens ? sparse.selection : dense;
}

/** Seconds of communication of all layers that compute does not hide. */
export function exposedSeconds(profile: CostProfile, tokens: number, degree: number): number {
  if (degree === 1) return 0;
  const { model, hardware, tensorDegree } = profile;
  const mode = profile.mode === "auto" ? cheaperMode(model, degree, tensorDegree) : profile.mode;
  const selection = selectionOf(profile, tokens, degree);
  const layer = prefillLayer(model, hardware, { tokens, degree, tensorDegree, mode, selection });
  const alone = prefillLayer(model, hardware, {
    tokens: tokens / degree,
    degree: 1,
    tensorDegree,
    mode,
    selection: dense,
  });
  const unhidden = layer.seconds - layer.attentionSeconds - (alone.seconds - alone.attentionSeconds);
  // A group never exposes less than the latency of its collectives.
  return model.layers * Math.max(unhidden, 2 * slowestLink(hardware, degree * tensorDegree).latencySeconds);
}

/** Seconds from the start of a prompt's prefill on a group of `degree` ranks to its first token. */
export function prefillSeconds(profile: CostProfile, tokens: number, degree: number): number {
  return splitSeconds(profile, tokens, degree) + exposedSeconds(profile, tokens, degree);
}

function splitSeconds(profile: CostProfile, tokens: number, degree: number): number {
  const { fixedSeconds, secondsPerToken, secondsPerTokenSquared } = profile.law;
  const squared = secondsPerTokenSquared * tokens ** 2 * attentionShare(profile, tokens, degree);
  return fixedSeconds + (secondsPerToken * tokens + squared) / degree;
}

/** Attention's work over that of dense attention. */
export function attentionShare(profile: CostProfile, tokens: number, degree: number): number {
  const selection = selectionOf(profile, tokens, degree);
  if (selection.kind === "dense") return 1;
  const { model, tensorDegree } = profile;
  const shape = { tokens, degree, tensorDegree, mode: "kvGather" as const };
  return (
    attentionFlops(model, { ...shape, selection }) / attentionFlops(model, { ...shape, selection: dense })
  );
}

/** Part of the time of one GPU that so many ranks put to use: T(1) / (g T(g)). */
export function efficiency(profile: CostProfile, tokens: number, degree: number): number {
  return prefillSeconds(profile, tokens, 1) / (degree * prefillSeconds(profile, tokens, degree));
}
