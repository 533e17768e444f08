import { mkdtemp, rm, writeFile } from "node:fs/promises";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { ApiError, isNotFound, isTooManyRequests, isUnreachable } from "./api-error.ts";
import { connect, type Cluster } from "./cluster.ts";
import { silent } from "./telemetry.ts";

interface Seen {
  method: string | undefined;
  url: string | undefined;
  headers: http.IncomingHttpHeaders;
  body: string;
}

let folder: string;
let server: http.Server;
let answer: (seen: Seen, response: http.ServerResponse) => void;
let seen: Seen[];
let finished: string[];
let cluster: Cluster;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "csps-cluster-test-"));
  seen = [];
  finished = [];
  answer = (_, response) => response.end('{"ok":true}');
  server = http.createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const { method, url, headers } = request;
      const one = { method, url, headers, body: Buffer.concat(chunks).toString() };
      seen.push(one);
      answer(one, response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  await writeFile(join(folder, "token"), "first-token");
  cluster = connect({
    kubeconfig: await kubeconfig(""),
    telemetry: { ...silent, requestFinished: (method, code) => finished.push(`${method} ${code}`) },
  });
});

afterEach(async () => {
  cluster.close();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await rm(folder, { recursive: true });
});

async function kubeconfig(pathPrefix: string): Promise<string> {
  const { port } = server.address() as AddressInfo;
  const path = join(folder, "kubeconfig");
  const url = `http://127.0.0.1:${String(port)}${pathPrefix}`;
  const config = {
    clusters: [
      { name: "one", cluster: { server: url, "insecure-skip-tls-verify": true } },
      { name: "two", cluster: { server: "https://two.example:6443" } },
    ],
    users: [
      {
        name: "one",
        user: { "auth-provider": { name: "tokenFile", config: { tokenFile: join(folder, "token") } } },
      },
    ],
    contexts: [
      { name: "one", context: { cluster: "one", user: "one", namespace: "home" } },
      { name: "two", context: { cluster: "two", user: "one" } },
    ],
    "current-context": "one",
  };
  await writeFile(path, JSON.stringify(config));
  return path;
}

describe("connecting", () => {
  test("takes the context's server and namespace", async () => {
    expect(cluster.namespace).toBe("home");
    const other = connect({ kubeconfig: await kubeconfig(""), context: "two" });
    expect(other.server.href).toBe("https://two.example:6443/");
    expect(other.namespace).toBeUndefined();
  });

  test("names the context that does not exist", async () => {
    const path = await kubeconfig("");
    expect(() => connect({ kubeconfig: path, context: "none" })).toThrow('no cluster for the context "none"');
  });
});

describe("a request", () => {
  test("carries the token, the user agent, the query and a framed body on one kept connection", async () => {
    await cluster.request({ path: "/a", query: { limit: 5, absent: undefined } });
    await cluster.request({ method: "DELETE", path: "/b", body: { kind: "grün" } });
    await cluster.request({ path: "/c" });
    expect(seen.map(({ method, url }) => `${method ?? ""} ${url ?? ""}`)).toEqual([
      "GET /a?limit=5",
      "DELETE /b",
      "GET /c",
    ]);
    expect(seen[0]?.headers).toMatchObject({
      authorization: "Bearer first-token",
      "user-agent": "csps-operator",
    });
    expect(JSON.parse(seen[1]?.body ?? "")).toEqual({ kind: "grün" });
    expect(seen[1]?.headers["content-length"]).toBe("16");
    expect(finished).toEqual(["GET 200", "DELETE 200", "GET 200"]);
  });

  test("carries the new token once the file has been rotated", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    try {
      await cluster.request({ path: "/a" });
      await writeFile(join(folder, "token"), "second-token");
      vi.setSystemTime(Date.now() + 61_000);
      await cluster.request({ path: "/b" });
    } finally {
      vi.useRealTimers();
    }
    expect(seen.map(({ headers }) => headers.authorization)).toEqual([
      "Bearer first-token",
      "Bearer second-token",
    ]);
  });

  test("goes below the path of a server behind a proxy", async () => {
    const behind = connect({ kubeconfig: await kubeconfig("/k8s/clusters/c-1/") });
    await behind.request({ path: "/api/v1/pods" });
    behind.close();
    expect(seen[0]?.url).toBe("/k8s/clusters/c-1/api/v1/pods");
  });

  test("fails with the server's reason and sentence", async () => {
    answer = (_, response) => {
      response.statusCode = 404;
      response.end(
        JSON.stringify({ kind: "Status", reason: "NotFound", message: 'pods "x" not found', code: 404 }),
      );
    };
    const failure = await cluster.request({ path: "/x" }).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(ApiError);
    expect(failure).toMatchObject({
      status: 404,
      reason: "NotFound",
      message: 'GET /x: 404 NotFound: pods "x" not found',
    });
    expect(isNotFound(failure)).toBe(true);
  });

  test("understands a refusal without a Status object", async () => {
    answer = (_, response) => {
      response.statusCode = 429;
      response.end("<html>slow down</html>");
    };
    await expect(cluster.request({ path: "/x" })).rejects.toSatisfy(isTooManyRequests);
  });

  test("waits as Retry-After says, while its deadline allows", async () => {
    answer = (_, response) => {
      if (seen.length === 1) response.writeHead(429, { "retry-after": "0" });
      response.end("{}");
    };
    await cluster.request({ path: "/x" });
    expect(seen.length).toBe(2);
    answer = (_, response) => response.writeHead(503, { "retry-after": "60" }).end("{}");
    await expect(cluster.request({ path: "/y", timeoutMs: 30_000 })).rejects.toMatchObject({ status: 503 });
    expect(seen.length).toBe(3);
  });

  test("ends at its deadline, before the headers and in the middle of the body", async () => {
    answer = () => undefined;
    const silence = cluster.request({ path: "/silent", timeoutMs: 50 });
    await expect(silence).rejects.toMatchObject({ status: 0, reason: "DeadlineExceeded" });
    answer = (_, response) => response.write('{"half":');
    const half = cluster.request({ path: "/half", timeoutMs: 50 });
    await expect(half).rejects.toMatchObject({ status: 0, reason: "DeadlineExceeded" });
  });

  test("ends when its signal is aborted, before the headers and in the middle of the body", async () => {
    for (const begin of ["", '{"half":']) {
      const aborter = new AbortController();
      answer = (_, response) => {
        if (begin !== "") response.write(begin);
        setTimeout(() => {
          aborter.abort();
        }, 20);
      };
      const aborted = cluster.request({ path: "/abort", signal: aborter.signal });
      await expect(aborted).rejects.toMatchObject({ status: 0, reason: "Aborted" });
    }
    await expect(cluster.request({ path: "/never", signal: AbortSignal.abort() })).rejects.toMatchObject({
      reason: "Aborted",
    });
    expect(seen.map(({ url }) => url)).not.toContain("/never");
  });

  test("is unreachable when the connection is refused or breaks off", async () => {
    answer = (_, response) => response.destroy();
    await expect(cluster.request({ method: "POST", path: "/x", body: {} })).rejects.toSatisfy(isUnreachable);
    answer = (_, response) => {
      response.write('{"half":', () => response.destroy());
    };
    await expect(cluster.request({ path: "/x" })).rejects.toSatisfy(isUnreachable);
  });

  test("reads again when the server had closed the kept connection", async () => {
    await cluster.request({ path: "/a" });
    answer = (_, response) => {
      // The connection that the first request left behind ends as the second one is on its way.
      if (seen.length === 2) response.destroy();
      else response.end("{}");
    };
    await cluster.request({ path: "/b" });
    expect(seen.map(({ url }) => url)).toEqual(["/a", "/b", "/b"]);
    expect(finished).toEqual(["GET 200", "GET <error>", "GET 200"]);
  });
});
