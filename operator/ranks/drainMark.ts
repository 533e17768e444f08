/**
 * The mark on a pod that its rank is on its way out. It stands on the pod, so that whoever leads next goes on with the
 * same rank, and so that a person can ask for it with the right to patch pods.
 */
import { z } from "zod";
import type { Pod } from "../kube/object.ts";

export const drainAnnotation = "csps.io/drain";

const mark = z.object({
  cause: z.enum(["ScaleIn", "Rollout", "NodeCordoned", "Asked"]),
  since: z.iso.datetime(),
  /** KV pages that it held when it was chosen; absent when nobody knew. */
  pages: z.int().min(0).optional(),
});

export type DrainMark = z.infer<typeof mark>;

/** Undefined when the pod has none. A mark that can't be read counts as asked for now: somebody wrote it. */
export function drainMark(pod: {
  readonly metadata: Pick<Pod["metadata"], "annotations" | "creationTimestamp">;
}): DrainMark | undefined {
  const text = pod.metadata.annotations?.[drainAnnotation];
  if (text === undefined) return undefined;
  const parsed = mark.safeParse(parsedJson(text));
  return parsed.success ? parsed.data : { cause: "Asked", since: pod.metadata.creationTimestamp };
}

export function drainMarkText(value: DrainMark): string {
  return JSON.stringify(mark.parse(value));
}

function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
