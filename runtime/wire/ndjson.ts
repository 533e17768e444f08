/** Newline-delimited JSON: bytes in any chunking to one parsed value a line, with a bound on a line's length. */

const maxLineChars = 4 * 1024 * 1024;

/** A line was not JSON, or longer than any event can be. */
export class MalformedLine extends Error {
  override readonly name = "MalformedLine";
}

/**
 * Parses `chunks` line by line; blank lines are keep-alives and are skipped. A last line without its newline is
 * a torn write and is dropped: whoever reads decides what a stream without its last event means.
 */
export async function* parseLines(
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<unknown, void, undefined> {
  const decoder = new TextDecoder();
  let pending = "";
  for await (const chunk of chunks) {
    pending += decoder.decode(chunk, { stream: true });
    let start = 0;
    for (let end = pending.indexOf("\n"); end >= 0; end = pending.indexOf("\n", start)) {
      const line = pending.slice(start, end).trim();
      start = end + 1;
      if (line !== "") yield parseLine(line);
    }
    pending = pending.slice(start);
    if (pending.length > maxLineChars)
      throw new MalformedLine(`a line is longer than ${String(maxLineChars)} characters`);
  }
}

function parseLine(line: string): unknown {
  try {
    return JSON.parse(line) as unknown;
  } catch (cause) {
    throw new MalformedLine(`not JSON: ${line.slice(0, 80)}`, { cause });
  }
}
