/** The listening socket and its end: no new connections, streams may finish within the grace. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { Express } from "express";

export interface Serving {
  readonly port: number;
  /** Stops accepting, waits for answers under way; true when all of them finished in time. */
  drain(graceMs: number): Promise<boolean>;
}

export async function serve(app: Express, port: number, host?: string): Promise<Serving> {
  const server = createServer(app);
  // Longer than the idle time of load balancers, so that it is they who close idle connections.
  server.keepAliveTimeout = 75_000;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    async drain(graceMs) {
      const closed = new Promise<true>((resolve) => {
        server.close(() => {
          resolve(true);
        });
      });
      // A keep-alive connection that is idle now, or becomes idle, must not hold the end up.
      const sweep = setInterval(() => {
        server.closeIdleConnections();
      }, 100);
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<false>((resolve) => {
        timer = setTimeout(resolve, graceMs, false);
      });
      const finished = await Promise.race([closed, late]);
      clearInterval(sweep);
      clearTimeout(timer);
      if (!finished) server.closeAllConnections();
      return finished;
    },
  };
}
