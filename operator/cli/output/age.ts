/** How long ago, as kubectl says it: 42s, 12m, 5h, 3d. */
export function age(since: string | undefined, nowMs: number): string {
  const then = since === undefined ? NaN : Date.parse(since);
  if (Number.isNaN(then)) return "?";
  const seconds = Math.max(0, Math.floor((nowMs - then) / 1000));
  if (seconds < 120) return `${String(seconds)}s`;
  if (seconds < 7_200) return `${String(Math.floor(seconds / 60))}m`;
  if (seconds < 172_800) return `${String(Math.floor(seconds / 3_600))}h`;
  return `${String(Math.floor(seconds / 86_400))}d`;
}
