/** A prompt of about 2,000 tokens without a file: a lighthouse keeper's log, the same on every run. */

const WEATHER = [
  "fog until noon",
  "a clear sky",
  "rain from the west",
  "strong wind from the north",
  "a calm sea",
];
const SHIPS = [
  "a schooner",
  "two fishing boats",
  "the mail steamer",
  "no ship at all",
  "a barge with timber",
];
const WORK = [
  "cleaned the lens",
  "painted the east door",
  "mended the stove",
  "counted the oil",
  "wrote letters home",
];
const EVENTS = [
  "A gull with one white wing sat on the rail all day.",
  "The supply boat brought flour, lamp oil and three books.",
  "My daughter asked how far the light can be seen.",
  "At night the beam stood in the mist like a wall.",
];

function pick(list: readonly string[], index: number): string {
  return list[index % list.length] ?? "";
}

const DAYS = 56;

/** The log, then the start of a sentence for the model to go on with. */
export function longPrompt(): string {
  const days = Array.from({ length: DAYS }, (_, day) => {
    const ships = pick(SHIPS, day * 3 + Math.floor(day / 5));
    const work = pick(WORK, day * 2 + Math.floor(day / 7));
    return `Day ${day + 1}. We had ${pick(WEATHER, day)}. I saw ${ships} and ${work}. ${pick(EVENTS, day + Math.floor(day / 4))}`;
  });
  return `The log of the lighthouse keeper.\n\n${days.join("\n")}\nDay ${DAYS + 1}. We had`;
}
