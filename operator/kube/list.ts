/** Reads a whole collection in pages. */
import { isGone } from "./api-error.ts";
import type { Cluster } from "./cluster.ts";
import type { KubeObject } from "./object.ts";
import { apiVersionOf, pathOf, type Resource } from "./resource.ts";

/** Objects of one kind that are read together. */
export interface Selection<T extends KubeObject> {
  readonly resource: Resource<T>;
  /** Default: every namespace. */
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
}

export interface ListOptions<T extends KubeObject> {
  /** Objects per request. Default: 500. */
  readonly pageLimit?: number | undefined;
  /** Deadline of each request. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Applied page by page, so that no more than one page is held in full. */
  readonly project?: (object: T) => T;
}

export interface KubeList<T> {
  readonly resourceVersion: string;
  readonly items: T[];
}

interface Page {
  metadata: { resourceVersion: string; continue?: string };
  items: unknown[] | null;
}

/**
 * Every page has the same resource version. When the continue token expires half-way (410), the list is read once
 * more in a single request, which cannot expire. Throws ApiError.
 */
export async function listPages<T extends KubeObject>(
  cluster: Cluster,
  selection: Selection<T>,
  options: ListOptions<T> = {},
): Promise<KubeList<T>> {
  const limit = options.pageLimit ?? 500;
  try {
    return await readPages(cluster, selection, options, limit);
  } catch (error) {
    if (!isGone(error)) throw error;
    return readPages(cluster, selection, options, undefined);
  }
}

async function readPages<T extends KubeObject>(
  cluster: Cluster,
  selection: Selection<T>,
  options: ListOptions<T>,
  limit: number | undefined,
): Promise<KubeList<T>> {
  const { resource, namespace, labelSelector, fieldSelector } = selection;
  // Items of a list carry neither of these two: the list's own kind stands for them.
  const identity = { apiVersion: apiVersionOf(resource), kind: resource.kind };
  const items: T[] = [];
  let token: string | undefined;
  for (;;) {
    const page: Page = await cluster.request<Page>({
      path: pathOf(resource, { namespace }),
      query: { limit, continue: token, labelSelector, fieldSelector },
      timeoutMs: options.timeoutMs,
      signal: options.signal,
    });
    for (const item of page.items ?? []) {
      const object = { ...identity, ...(item as object) } as T;
      items.push(options.project?.(object) ?? object);
    }
    token = page.metadata.continue;
    if (token === undefined || token === "") return { resourceVersion: page.metadata.resourceVersion, items };
  }
}
