/** Where a rank's control API listens; every `RankRef` is one. */
export interface RankEndpoint {
  readonly address: string;
  readonly controlPort: number;
}
