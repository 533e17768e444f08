/** A process with what the operator keeps of the API: caches, elector. Prints its memory after they have settled. */
import { connect } from "../cluster.ts";
import { Informer } from "../informer.ts";
import { LeaderElector } from "../lease.ts";
import { slim, slimNode, slimPod } from "../projection.ts";
import { nodes, pods, secrets, services } from "../resource.ts";
import { byNode, byOwner } from "../store.ts";

const cluster = connect({ kubeconfig: process.argv[2] });
const podCache = new Informer({ cluster, resource: pods, project: slimPod, indexes: { byOwner, byNode } });
const caches = [
  podCache,
  new Informer({ cluster, resource: nodes, project: slimNode }),
  new Informer({ cluster, resource: services, project: slim }),
  new Informer({ cluster, resource: secrets, project: slim }),
];
const elector = new LeaderElector({ cluster, namespace: "default", name: "footprint" });
elector.start();
for (const cache of caches) cache.start();
await Promise.all(caches.map((cache) => cache.synced(120_000)));
const { maxRSS } = process.resourceUsage();
process.stdout.write(JSON.stringify({ pods: podCache.store.size, peakMiB: Math.round(maxRSS / 1024) }));
await Promise.all(caches.map((cache) => cache.stop()));
await elector.stop();
cluster.close();
