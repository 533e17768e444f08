/** Places where one process at a time can listen: the system frees them when it ends, however it ends. */
import { createServer } from "node:net";
import type { ListenOptions, Server } from "node:net";

/** A name without a file, in this network namespace. */
export function nameWithoutFile(name: string): ListenOptions {
  return { path: `\0${name}` };
}

/** Undefined when another one listens there. */
export function listening(place: ListenOptions): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE" || error.code === "EACCES") resolve(undefined);
      else reject(error);
    });
    server.listen(place, () => {
      resolve(server);
    });
  });
}
