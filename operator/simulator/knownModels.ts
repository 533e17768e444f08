/** Models whose widths are known, and which of them a name tells of. Widths are those of the published config.json. */
import { llama70b, llama8b, type ModelShape } from "../planning/cost/modelShape.ts";

export const qwen32b: ModelShape = {
  name: "qwen3-32b",
  layers: 64,
  hidden: 5120,
  queryHeads: 64,
  keyValueHeads: 8,
  headDim: 128,
  feedForward: 25_600,
  feedForwardMatrices: 3,
  vocabulary: 151_936,
  bytesPerElement: 2,
};

export const qwen25of32b: ModelShape = {
  ...qwen32b,
  name: "qwen2.5-32b",
  queryHeads: 40,
  feedForward: 27_648,
  vocabulary: 152_064,
};

/** Its output head is its embedding, which is counted twice here: 28 of 163 M weights. */
export const smolLm135m: ModelShape = {
  name: "smollm2-135m",
  layers: 30,
  hidden: 576,
  queryHeads: 9,
  keyValueHeads: 3,
  headDim: 64,
  feedForward: 1_536,
  feedForwardMatrices: 3,
  vocabulary: 49_152,
  bytesPerElement: 2,
};

/** What a name tells of: the family's name with the size, or the size alone, which may be of another family. */
export interface NamedShape {
  readonly shape: ModelShape;
  readonly family: boolean;
}

interface Known {
  readonly shape: ModelShape;
  readonly family: RegExp;
  /** As in names: 8B is neither in 1.8B or 48B nor in 8bit. */
  readonly size: RegExp;
  /** Of a size that by itself tells the widths well enough to reckon with. */
  readonly bySize: boolean;
}

const known: readonly Known[] = [
  { shape: llama8b, family: /llama/i, size: sized("8b"), bySize: true },
  { shape: llama70b, family: /llama/i, size: sized("70b"), bySize: true },
  { shape: qwen25of32b, family: /qwen-?2\.5/i, size: sized("32b"), bySize: false },
  { shape: qwen32b, family: /qwen-?3/i, size: sized("32b"), bySize: false },
  { shape: smolLm135m, family: /smollm-?2/i, size: sized("135m"), bySize: false },
];

export const knownModelNames: readonly string[] = known.map(({ shape }) => shape.name);

/** @returns undefined where the name tells of none that is known. */
export function shapeNamed(name: string): NamedShape | undefined {
  const right = known.filter(({ size }) => size.test(name));
  const family = right.find((one) => one.family.test(name));
  if (family !== undefined) return { shape: family.shape, family: true };
  const sameSize = right.find(({ bySize }) => bySize);
  return sameSize === undefined ? undefined : { shape: sameSize.shape, family: false };
}

function sized(size: string): RegExp {
  return new RegExp(`(^|[^0-9.])${size}(?![a-z0-9])`, "i");
}
