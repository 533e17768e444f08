/** Prompts of the scenarios. Long ones are made of numbered sentences, so that no two pages of them are alike. */

const SUBJECTS = [
  "The river",
  "A merchant",
  "The old clock",
  "Every student",
  "The northern road",
  "A small boat",
];
const DEEDS = [
  "carried grain to",
  "was seen near",
  "kept silent about",
  "measured",
  "returned from",
  "wrote down",
];
const PLACES = [
  "the harbour",
  "the second bridge",
  "the library",
  "a village of weavers",
  "the winter market",
];

/** About `words` words of English that never repeat a whole sentence. */
export function story(words: number): string {
  const sentences: string[] = [];
  let count = 0;
  for (let index = 1; count < words; index += 1) {
    const pick = (list: readonly string[], step: number): string => list[(index * step) % list.length] ?? "";
    const sentence = `On day ${index}, ${pick(SUBJECTS, 5).toLowerCase()} ${pick(DEEDS, 7)} ${pick(PLACES, 3)}.`;
    count += sentence.split(" ").length;
    sentences.push(sentence);
  }
  return `${sentences.join(" ")} In summary,`;
}

export const PROMPTS: Readonly<Record<string, string>> = {
  "200 tokens": story(137),
  "2,000 tokens": story(1420),
  "4,000 tokens": story(2750),
  "non-ASCII":
    "Übersetze ins Englische: „Der Fluß fließt über die Brücke“ — 日本語では、川は橋の下を流れます。 🌊 Answer:",
};

export const CHATS: Readonly<Record<string, readonly { role: "system" | "user"; content: string }[]>> = {
  "short chat": [{ role: "user", content: "What is the capital of France? Answer in one sentence." }],
};
