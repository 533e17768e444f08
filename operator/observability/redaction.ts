/** Keeps secrets out of logs: fields that are named like one, and the forms in which they hide inside texts. */

const hidden = "[redacted]";

/** A field whose name ends like this holds a secret; `tokens` (a count of model tokens) does not. */
const secretField =
  /(^|[_.-]|[a-z])(token|password|passwd|secret|api-?key|authorization|cookie|credentials?|private-?key)$/i;

/** Forms of secrets in texts, each with what stays of it. */
const secretTexts: readonly (readonly [RegExp, string])[] = [
  [/\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{6,}/gi, `$1 ${hidden}`],
  // Password of a URL: redis://user:password@host
  [/\b([a-z][a-z0-9+.-]*:\/\/[^\s:/@]*):[^\s/@]+@/gi, `$1:${hidden}@`],
  // A JSON web token, such as a service account's.
  [/\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*/g, hidden],
  [/(-----BEGIN [A-Z ]*PRIVATE KEY-----)[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----)/g, `$1${hidden}$2`],
];

/** Nested deeper than this, a value is cut off. */
const maxDepth = 6;

/** Copy of a log field's value without secrets. */
export function redact(field: string, value: unknown, depth = 0): unknown {
  if (typeof value === "string") return secretField.test(field) ? hidden : redactText(value);
  if (value === null || typeof value !== "object") return value;
  if (secretField.test(field)) return hidden;
  if (depth >= maxDepth) return "[deep]";
  if (value instanceof Error) return redactText(value.stack ?? value.message);
  if (value instanceof Date) return value.toISOString();
  if (Array.isArray(value)) return value.map((item) => redact("", item, depth + 1));
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => [name, redact(name, item, depth + 1)]),
  );
}

/** The text with every known form of a secret replaced. */
export function redactText(text: string): string {
  return secretTexts.reduce((rest, [form, replacement]) => rest.replace(form, replacement), text);
}
