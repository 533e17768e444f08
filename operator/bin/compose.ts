/** Puts the operator together: caches, controllers, leader election, health and metrics. */
import type { AutoscalerContext } from "../autoscaler/context.ts";
import { ScalingMemories } from "../autoscaler/memory.ts";
import { scalingMeters } from "../autoscaler/meters.ts";
import { registerAutoscaler } from "../autoscaler/register.ts";
import { registerRoleScalers } from "../controllers/rolescaler/register.ts";
import { registerGroups } from "../controllers/spgroup/register.ts";
import { registerPools } from "../controllers/decodepool/register.ts";
import { registerDeployments } from "../controllers/cspsdeployment/register.ts";
import { secretValue } from "../controllers/cspsdeployment/desired/secrets.ts";
import { get } from "../kube/apply.ts";
import { connect, type Cluster } from "../kube/cluster.ts";
import type { Controller } from "../kube/controller.ts";
import { EventRecorder } from "../kube/events.ts";
import { Expectations } from "../kube/expectations.ts";
import type { Informer } from "../kube/informer.ts";
import { LeaderElector } from "../kube/lease.ts";
import { controllerOf, type KubeObject } from "../kube/object.ts";
import { secrets } from "../kube/resource.ts";
import type { Telemetry } from "../kube/telemetry.ts";
import { HealthChecks } from "../observability/health.ts";
import { healthPages, metricsPages, serve } from "../observability/http.ts";
import type { Logger } from "../observability/logger.ts";
import { addStateMetrics, createMetrics, type Metrics } from "../observability/metrics.ts";
import { kubeTelemetry } from "../observability/telemetry.ts";
import { defaultGangPolicy, type GangPolicy } from "../planning/gang/plan.ts";
import { PlacementLedger } from "../ranks/capacity.ts";
import type { GangContext } from "../ranks/context.ts";
import { RankClients } from "../ranks/engines.ts";
import { childName } from "../ranks/names.ts";
import { GangRecords } from "../ranks/record.ts";
import { PoolMemories } from "../rebalancer/memory.ts";
import { rebalanceMeters } from "../rebalancer/meters.ts";
import { registerRebalancer } from "../rebalancer/register.ts";
import { RecordKeeper } from "../records/keeper.ts";
import { StatusNotes } from "../records/notes.ts";
import { type Caches, createCaches, ownedInformers } from "./caches.ts";
import type { OperatorOptions } from "./options.ts";
import { poolStates } from "./poolStates.ts";
import { StateStores } from "./stateStores.ts";

export interface RunningOperator {
  readonly metricsPort: number;
  readonly healthPort: number;
  /** Resolves with the reason when the leadership is lost. */
  readonly lost: Promise<string>;
  /** Ends the reconciles under way, releases the Lease, closes every connection. */
  stop(): Promise<void>;
}

export interface Surroundings {
  readonly logger: Logger;
  readonly version: string;
  /** Default: the policy of production; tests shorten its times. */
  readonly gangPolicy?: GangPolicy;
}

const syncDeadlineMs = 120_000;
/** A cache that has not shown a write after this long has lost the event; placement looks again. */
const expectationMs = 30_000;

export async function startOperator(
  options: OperatorOptions,
  around: Surroundings,
): Promise<RunningOperator> {
  const { logger } = around;
  const metrics = createMetrics(around.version);
  const telemetry = kubeTelemetry(logger, metrics);
  const { kubeconfig, context } = options;
  const cluster = connect({ kubeconfig, context, telemetry });
  const caches = createCaches(cluster, options.namespace);
  const informers = Object.values(caches);
  addStateMetrics(metrics.registry, {
    deployments: () => caches.deployments.store.list(),
    groups: () => caches.groups.store.list(),
    pools: () => caches.pools.store.list(),
  });
  const ready = new HealthChecks().add("caches", () => {
    const behind = informers.filter((informer) => !informer.hasSynced).length;
    if (behind > 0) throw new Error(`${String(behind)} caches have not synced`);
  });
  const health = await serve(healthPages(new HealthChecks(), ready), options.healthPort);
  const scrape = await serve(metricsPages(metrics.registry), options.metricsPort);

  let leave: (reason: string) => void = () => undefined;
  const lost = new Promise<string>((resolve) => {
    leave = resolve;
  });
  const term = { fence: 0, begun: false };
  const elector = options.leaderElect
    ? new LeaderElector({
        cluster,
        namespace: options.ownNamespace,
        name: options.leaseName,
        onStarted: (fence) => {
          term.fence = fence;
          begin();
        },
        onLost: leave,
      })
    : undefined;
  const acting = assemble({ options, around, cluster, caches, metrics, telemetry, fence: () => term.fence });
  const begin = (): void => {
    if (term.begun) return;
    term.begun = true;
    for (const controller of acting.controllers) controller.start();
  };

  for (const informer of informers) informer.start();
  const stop = async (): Promise<void> => {
    await Promise.all(acting.controllers.map((controller) => controller.stop()));
    await acting.events.flush();
    await elector?.stop();
    await Promise.all(informers.map((informer) => informer.stop()));
    await Promise.all([acting.close(), health.close(), scrape.close()]);
    cluster.close();
  };
  try {
    await Promise.all(informers.map((informer) => informer.synced(syncDeadlineMs)));
  } catch (error) {
    await stop();
    throw error;
  }
  logger.info("Caches have synced");
  if (elector === undefined) begin();
  else elector.start();
  return { metricsPort: scrape.port, healthPort: health.port, lost, stop };
}

interface Parts {
  readonly options: OperatorOptions;
  readonly around: Surroundings;
  readonly cluster: Cluster;
  readonly caches: Caches;
  readonly metrics: Metrics;
  readonly telemetry: Telemetry;
  readonly fence: () => number;
}

interface Acting {
  readonly controllers: readonly Controller[];
  readonly events: EventRecorder;
  close(): Promise<void>;
}

/** The controllers and loops with what they share. */
function assemble({ options, around, cluster, caches, metrics, telemetry, fence }: Parts): Acting {
  const recorder = new EventRecorder({ cluster });
  const events = { record: logged(around.logger, recorder) };
  const nowMs = Date.now;
  const readToken = async (namespace: string, name: string): Promise<string> =>
    secretValue(await get(cluster, secrets, { metadata: { namespace, name } }), "token") ?? "";
  const rankClients = new RankClients(readToken, nowMs);
  const stateStores = new StateStores(fence);
  const keeper = new RecordKeeper(cluster);
  const gangs: GangContext = {
    cluster,
    events,
    expectations: new Expectations({ timeoutMs: expectationMs }),
    pods: caches.pods.store,
    nodes: caches.nodes.store,
    ledger: new PlacementLedger(nowMs),
    rankClients,
    records: new GangRecords(),
    keepPlacement: async (gang, kept) => {
      const reference = controllerOf(gang);
      if (reference === undefined) return;
      await keeper.keep({ namespace: gang.metadata.namespace ?? "", reference }, "placement", kept);
    },
    policy: around.gangPolicy ?? defaultGangPolicy,
    fence,
    nowMs,
  };
  const notes = new StatusNotes();
  const stateOf = poolStates(cluster, stateStores, nowMs);
  const autoscaler: AutoscalerContext = {
    cluster,
    events,
    deployments: caches.deployments.store,
    groups: caches.groups.store,
    pools: caches.pools.store,
    pods: caches.pods.store,
    nodes: caches.nodes.store,
    rankClients,
    memories: new ScalingMemories(),
    keeper,
    notes,
    meters: scalingMeters(metrics),
    stateOf: ({ metadata }) =>
      stateOf({
        metadata,
        spec: { deployment: metadata.name, stateStoreSecret: childName.state(metadata.name) },
      }),
    fence,
    // Passes as the process sees it pass, so that a step of the clock scales nothing.
    steadyMs: () => performance.timeOrigin + performance.now(),
  };
  const rebalancer = {
    pools: caches.pools.store,
    pods: caches.pods.store,
    nodes: caches.nodes.store,
    rankClients,
    gangRecords: gangs.records,
    keeper,
    memories: new PoolMemories(),
    events,
    meters: rebalanceMeters(metrics),
    stateOf,
    fence,
    nowMs,
  };
  const owned = ownedInformers(caches);
  const sources = { pods: caches.pods, nodes: caches.nodes };
  const controllers = [
    registerDeployments(
      {
        cluster,
        events,
        deployments: caches.deployments.store,
        groups: caches.groups.store,
        pools: caches.pools.store,
        workloads: caches.workloads.store,
        statefulSets: caches.statefulSets.store,
        pods: caches.pods.store,
        nodes: caches.nodes.store,
        owned: new Map(
          [...owned].map(([kind, { resource, informer }]) => [kind, { resource, store: informer.store }]),
        ),
        stateStore: stateStores,
        notes,
        surroundings: {
          images: options.images,
          operatorNamespace: options.ownNamespace,
          scrapeNamespaces: options.scrapeNamespaces,
        },
        nowMs,
      },
      { deployments: caches.deployments, owned: [...owned.values()].map(({ informer }) => informer) },
      telemetry,
    ),
    registerGroups(gangs, { ...sources, gangs: caches.groups }, telemetry),
    registerPools(gangs, { ...sources, gangs: caches.pools }, telemetry),
    registerRebalancer(rebalancer, caches.pools, telemetry),
    registerAutoscaler(autoscaler, caches.deployments, telemetry),
    registerRoleScalers(
      {
        cluster,
        events,
        deployments: caches.deployments.store,
        scalers: caches.scalers.store,
        groups: caches.groups.store,
        pods: caches.pods.store,
      },
      {
        deployments: caches.deployments,
        // Informers of kinds are read as those of any object here: nothing is written through them.
        owned: [caches.scalers, caches.groups] as unknown as Informer<KubeObject>[],
        pods: caches.pods,
      },
      telemetry,
    ),
  ];
  const close = async (): Promise<void> => {
    await Promise.all([rankClients.close(), stateStores.close()]);
  };
  return { controllers, events: recorder, close };
}

/** What people are told in Events stands in the log as well. */
function logged(logger: Logger, recorder: EventRecorder): EventRecorder["record"] {
  return (occurrence) => {
    const { kind, metadata } = occurrence.regarding;
    const { namespace, name } = metadata;
    const level = occurrence.type === "Warning" ? "warn" : "info";
    logger.log(level, occurrence.note, { reason: occurrence.reason, kind, namespace, name });
    recorder.record(occurrence);
  };
}
