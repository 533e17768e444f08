/**
 * Every message of the control API under the name it has in both languages, in the order of declaration:
 * a message stands after those it is made of. Generation and the golden tests read this list, so that a
 * message can't exist on one side only.
 */
import type { z } from "zod";
import { gatewayEnvironment, rankEnvironment } from "./environment.ts";
import { failure, failureCode } from "./failure.ts";
import { rankRef, role } from "./identity.ts";
import { decodeReport, prefillReport, rankLoad } from "./load.ts";
import { epochProposal, rankPhase, rankState, roster } from "./membership.ts";
import { modelDescriptor } from "./model.ts";
import {
  inventoryRank,
  inventoryRequest,
  moveCancel,
  moveOrder,
  movePhase,
  moveState,
  pageShard,
  poolInventory,
} from "./move.ts";
import {
  cancelRequest,
  decodeDone,
  decodeEvent,
  decodeRequest,
  errorEvent,
  pagePlace,
  prefillDone,
  prefillEvent,
  prefillProgress,
  prefillRequest,
  reservation,
  reserveRequest,
  sampling,
  sparseDecodeSummary,
  sparseSummary,
  tokenEvent,
  tokenLogprob,
} from "./serving.ts";

export const messages = {
  Role: role,
  RankRef: rankRef,
  FailureCode: failureCode,
  Failure: failure,
  Roster: roster,
  EpochProposal: epochProposal,
  RankPhase: rankPhase,
  SparseSummary: sparseSummary,
  PrefillReport: prefillReport,
  DecodeReport: decodeReport,
  RankLoad: rankLoad,
  RankState: rankState,
  ModelDescriptor: modelDescriptor,
  Sampling: sampling,
  ReserveRequest: reserveRequest,
  PagePlace: pagePlace,
  Reservation: reservation,
  PrefillRequest: prefillRequest,
  TokenLogprob: tokenLogprob,
  TokenEvent: tokenEvent,
  ErrorEvent: errorEvent,
  PrefillProgress: prefillProgress,
  SparseDecodeSummary: sparseDecodeSummary,
  PrefillDone: prefillDone,
  PrefillEvent: prefillEvent,
  DecodeRequest: decodeRequest,
  DecodeDone: decodeDone,
  DecodeEvent: decodeEvent,
  CancelRequest: cancelRequest,
  PageShard: pageShard,
  InventoryRank: inventoryRank,
  InventoryRequest: inventoryRequest,
  MovePhase: movePhase,
  MoveOrder: moveOrder,
  MoveCancel: moveCancel,
  MoveState: moveState,
  PoolInventory: poolInventory,
} satisfies Record<string, z.ZodType>;

/** Environments are not JSON messages: their keys are variable names and all values are strings. */
export const environments = {
  RankEnvironment: rankEnvironment,
  GatewayEnvironment: gatewayEnvironment,
} satisfies Record<string, z.ZodType>;

export type MessageName = keyof typeof messages;
