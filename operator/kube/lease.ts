/** Leader election on a coordination.k8s.io Lease. One process leads; its term number fences what it writes. */
import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { isAlreadyExists, isConflict } from "./api-error.ts";
import { create, get } from "./apply.ts";
import { sleep } from "./backoff.ts";
import type { Cluster } from "./cluster.ts";
import {
  defaultTerms,
  nextLeaseStep,
  observeLease,
  type LeaseTerms,
  type ObservedLease,
} from "./lease-record.ts";
import type { Lease } from "./object.ts";
import { leases, pathOf } from "./resource.ts";

export interface LeaderElectorOptions {
  readonly cluster: Cluster;
  readonly namespace: string;
  /** Name of the Lease. */
  readonly name: string;
  /** Default: host name and a random part, so that a restarted process is another candidate. */
  readonly identity?: string | undefined;
  readonly terms?: LeaseTerms | undefined;
  /** Called at the start of each term. */
  onStarted?(fence: number): void;
  /** Called when a term ends otherwise than by `stop`. The process should exit, since its caches may be stale. */
  onLost?(reason: string): void;
  /** Milliseconds of a clock that never steps back. */
  readonly monotonicMs?: (() => number) | undefined;
  readonly wallClockMs?: (() => number) | undefined;
  readonly random?: (() => number) | undefined;
}

interface Term {
  readonly fence: number;
  /** Just before the request of the last successful renewal was sent. */
  renewedAtMs: number;
}

type LeaseSpec = NonNullable<Lease["spec"]>;

export class LeaderElector {
  readonly identity: string;
  readonly #options: LeaderElectorOptions;
  readonly #terms: LeaseTerms;
  readonly #monotonicMs: () => number;
  readonly #wallClockMs: () => number;
  readonly #aborter = new AbortController();
  #observed: ObservedLease | undefined;
  #term: Term | undefined;
  #finished: Promise<void> | undefined;

  constructor(options: LeaderElectorOptions) {
    this.#options = options;
    this.#terms = options.terms ?? defaultTerms;
    this.#monotonicMs = options.monotonicMs ?? ((): number => performance.now());
    this.#wallClockMs = options.wallClockMs ?? Date.now;
    this.identity = options.identity ?? `${hostname()}_${randomUUID()}`;
  }

  /** Begins to stand for election; returns at once. */
  start(): void {
    this.#finished ??= this.#run();
  }

  /**
   * Ends the candidacy and gives the lease back if held, so that another takes over at once. Stop the controllers
   * first: whoever leads next may begin while this call returns.
   */
  async stop(): Promise<void> {
    this.#aborter.abort();
    await this.#finished;
    if (this.isLeader) await this.#release();
    this.#endTerm();
  }

  /** False from the renew deadline on, even when the loop could not run to notice it. */
  get isLeader(): boolean {
    return (
      this.#term !== undefined && this.#monotonicMs() < this.#term.renewedAtMs + this.#terms.renewDeadlineMs
    );
  }

  /** Number of the present term: grows with every term of every process. Undefined when not leading. */
  get fence(): number | undefined {
    return this.isLeader ? this.#term?.fence : undefined;
  }

  /** Holder that the last read showed. */
  get holder(): string | undefined {
    return this.#observed?.lease.spec?.holderIdentity;
  }

  async #run(): Promise<void> {
    const random = this.#options.random ?? Math.random;
    while (!this.#aborter.signal.aborted) {
      await this.#try();
      if (this.#term !== undefined && !this.isLeader) this.#lose("The lease could not be renewed in time");
      // Candidates spread over 1.0 to 1.2 of the retry time; a leader is punctual.
      const waitMs = this.#terms.retryMs * (this.#term === undefined ? 1 + random() * 0.2 : 1);
      await sleep(waitMs, this.#aborter.signal);
    }
  }

  /** Errors are logged and no more: the deadline decides, not one failure. */
  async #try(): Promise<void> {
    try {
      try {
        await this.#step();
      } catch (error) {
        if (!isConflict(error) && !isAlreadyExists(error)) throw error;
        // Somebody wrote since. A leader must know at once who; others look again in a while.
        this.#observed = undefined;
        if (this.#term !== undefined) await this.#step();
      }
    } catch (error) {
      if (this.#aborter.signal.aborted) return;
      const { cluster, name } = this.#options;
      const fields = { lease: name, error: String(error) };
      cluster.telemetry.log("warn", "The lease was not acquired or renewed", fields);
    }
  }

  /** One look at the lease and one write at most. */
  async #step(): Promise<void> {
    // A leader's own last write is what it renews from; a conflict tells when that is no longer the present record.
    if (this.#term === undefined || this.#observed === undefined) await this.#read();
    const nowMs = this.#monotonicMs();
    const step = nextLeaseStep(this.#observed, {
      identity: this.identity,
      leads: this.isLeader,
      nowMs,
      wallClockMs: this.#wallClockMs(),
    });
    if (step.kind === "wait") {
      if (this.#term !== undefined) this.#lose(`${step.holder} holds the lease`);
      return;
    }
    const fence = step.kind === "renew" ? (this.#term?.fence ?? 0) : step.transitions;
    await (step.kind === "create" ? this.#create(fence) : this.#update(fence, step.kind === "acquire"));
    if (step.kind === "renew" && this.#term !== undefined) this.#term.renewedAtMs = nowMs;
    else this.#begin({ fence, renewedAtMs: nowMs });
  }

  async #read(): Promise<void> {
    const { cluster, namespace, name } = this.#options;
    const lease = await get(cluster, leases, { metadata: { namespace, name } }, this.#limits());
    this.#observed =
      lease === undefined ? undefined : observeLease(this.#observed, lease, this.#monotonicMs());
  }

  async #create(fence: number): Promise<void> {
    const { cluster, namespace, name } = this.#options;
    const spec = this.#spec(fence, true);
    const lease = await create(cluster, leases, { metadata: { namespace, name }, spec }, this.#limits());
    this.#observed = observeLease(undefined, lease, this.#monotonicMs());
  }

  /** Replaces the record that was seen and no other: its resource version goes along. */
  async #update(fence: number, begins: boolean, released?: Partial<LeaseSpec>): Promise<void> {
    const { cluster } = this.#options;
    const before = this.#observed?.lease;
    if (before === undefined) return;
    const spec = { ...before.spec, ...this.#spec(fence, begins), ...released };
    const body = { ...before, spec };
    const lease = await cluster.request<Lease>({
      method: "PUT",
      path: pathOf(leases, before.metadata),
      body,
      ...this.#limits(),
    });
    this.#observed = observeLease(undefined, lease, this.#monotonicMs());
  }

  #spec(fence: number, begins: boolean): LeaseSpec {
    const now = new Date(this.#wallClockMs()).toISOString().replace(/Z$/, "000Z");
    return {
      holderIdentity: this.identity,
      leaseDurationSeconds: Math.max(1, Math.ceil(this.#terms.durationMs / 1000)),
      renewTime: now,
      leaseTransitions: fence,
      ...(begins ? { acquireTime: now } : {}),
    };
  }

  /** A renewal that `stop` cut off may have reached the server: then the record is read anew and tried once more. */
  async #release(): Promise<void> {
    const released = { holderIdentity: "", leaseDurationSeconds: 1 };
    const fence = this.#term?.fence ?? 0;
    try {
      try {
        await this.#update(fence, false, released);
      } catch (error) {
        if (!isConflict(error)) throw error;
        await this.#read();
        if (this.holder === this.identity) await this.#update(fence, false, released);
      }
    } catch (error) {
      const { cluster, name } = this.#options;
      const fields = { lease: name, error: String(error) };
      cluster.telemetry.log("warn", "The lease was not released; it will expire", fields);
    }
  }

  #begin(term: Term): void {
    this.#term = term;
    const { cluster, name } = this.#options;
    cluster.telemetry.leading(name, true);
    cluster.telemetry.log("info", "Leading", { lease: name, identity: this.identity, fence: term.fence });
    this.#options.onStarted?.(term.fence);
  }

  #lose(reason: string): void {
    this.#endTerm();
    this.#options.cluster.telemetry.log("error", "No longer leading", { lease: this.#options.name, reason });
    this.#options.onLost?.(reason);
  }

  #endTerm(): void {
    if (this.#term === undefined) return;
    this.#term = undefined;
    this.#options.cluster.telemetry.leading(this.#options.name, false);
  }

  /** A request of the candidacy ends with it; those that release the lease come after. */
  #limits(): { timeoutMs: number; signal?: AbortSignal } {
    const { signal } = this.#aborter;
    return { timeoutMs: this.#requestMs(), ...(signal.aborted ? {} : { signal }) };
  }

  /** Leaves time for another try before the renew deadline. */
  #requestMs(): number {
    return this.#terms.renewDeadlineMs / 2;
  }
}
