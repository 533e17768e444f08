/** Rows of the hardware tables as points of a line: work on one axis, seconds on the other. */
import { join } from "node:path";
import { readText } from "../dataFolder.ts";
import type { Point } from "./line.ts";

type Row = Readonly<Record<string, number>>;

function readRows(path: string, keep: (cells: readonly string[]) => boolean = () => true): readonly Row[] {
  const [header = "", ...lines] = readText(path).trim().split("\n");
  const columns = header.split(",");
  return lines
    .map((line) => line.split(","))
    .filter(keep)
    .map((cells) => Object.fromEntries(columns.map((column, index) => [column, Number(cells[index])])));
}

const cell = (row: Row, name: string): number => row[name] ?? Number.NaN;
const seconds = (row: Row): number => cell(row, "latency_ms") / 1e3;

export interface Tables {
  /** FLOP of large products. */
  readonly gemm: readonly Point[];
  /** Bytes of weights of products with few rows. */
  readonly weights: readonly Point[];
  /** FLOP of causal attention. */
  readonly attention: readonly Point[];
  /** Bytes of KV of decode attention. */
  readonly scan: readonly Point[];
  /** Bytes that one of eight GPUs of a node sends. */
  readonly node: readonly Point[];
}

export function readTables(folder: string, gpu: "h100" | "h200"): Tables {
  const at = (name: string) => join(folder, "hardware", `${gpu}_${name}`);
  const gemm = readRows(at("gemm_bf16.csv.gz"));
  const mnk = (row: Row) => [cell(row, "m"), cell(row, "n"), cell(row, "k")] as const;
  const grouped = (row: Row) =>
    cell(row, "head_dim") === 128 && cell(row, "num_heads") >= 4 * cell(row, "num_key_value_heads");
  const prefill = readRows(at("prefill_attention_bf16.csv.gz")).filter(grouped);
  const decode = readRows(at("decode_attention_bf16.csv.gz")).filter(grouped);
  const width = (row: Row) => cell(row, "batch_size") * cell(row, "num_heads") * cell(row, "head_dim");
  const kvBytes = (row: Row) =>
    4 *
    cell(row, "batch_size") *
    cell(row, "kv_tokens") *
    cell(row, "num_key_value_heads") *
    cell(row, "head_dim");
  const exchange = readRows(at("nccl_fp16.csv"), ([name, gpus]) => name === "alltoall" && gpus === "8");
  return {
    gemm: gemm
      .filter((row) => mnk(row)[0] >= 1024 && mnk(row)[1] >= 1024 && mnk(row)[2] >= 1024)
      .map((row) => ({ x: 2 * mnk(row)[0] * mnk(row)[1] * mnk(row)[2], y: seconds(row) })),
    weights: gemm
      .filter((row) => mnk(row)[0] <= 32 && mnk(row)[1] * mnk(row)[2] >= 2 ** 23)
      .map((row) => ({ x: 2 * mnk(row)[1] * mnk(row)[2], y: seconds(row) })),
    attention: prefill
      .filter((row) => cell(row, "tokens") >= 2048 && cell(row, "num_heads") >= 16)
      .map((row) => ({ x: 2 * width(row) * cell(row, "tokens") ** 2, y: seconds(row) })),
    scan: decode
      .filter((row) => kvBytes(row) >= 2 ** 25)
      .map((row) => ({ x: kvBytes(row), y: seconds(row) })),
    node: exchange
      .map((row) => ({ x: (7 / 8) * 2 * cell(row, "message_elements"), y: seconds(row) }))
      .filter(({ x }) => x >= 2 ** 16),
  };
}

/** Bytes sent from one H100 to another, of the same node or of a different one. */
export function readNeighbours(folder: string, where: "node" | "network"): readonly Point[] {
  const perNode = where === "node" ? "2" : "1";
  const rows = readRows(join(folder, "hardware/h100_send_recv.csv"), (cells) => cells[2] === perNode);
  return rows
    .filter((row) => cell(row, "bytes") >= 2 ** 16)
    .map((row) => ({ x: cell(row, "bytes"), y: cell(row, "median_ms") / 1e3 }));
}
