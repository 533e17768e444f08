import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { freePort } from "./freePort.ts";

const module = join(import.meta.dirname, "freePort.ts");

it("gives no port twice, none that the system gives away, and one whose companion is free too", async () => {
  const ports: number[] = [];
  for (let count = 0; count < 50; count++) ports.push(await freePort(count % 2 === 0 ? 0 : 10_000));
  expect(new Set(ports).size).toBe(ports.length);
  const given = Number(readFileSync("/proc/sys/net/ipv4/ip_local_port_range", "utf8").split(/\s+/)[0]);
  for (const [count, port] of ports.entries()) {
    expect(port + (count % 2 === 0 ? 0 : 10_000)).toBeLessThan(given);
    const server = createServer();
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject).listen(port, "127.0.0.1", resolve);
    });
    await new Promise((resolve) => server.close(resolve));
  }
});

it("gives no port to two processes, and holds none of them up", async () => {
  // Both draw the same numbers.
  const draw = `
    import crypto from "node:crypto";
    import { syncBuiltinESMExports } from "node:module";
    let drawn = 24_000;
    crypto.randomInt = () => drawn++;
    syncBuiltinESMExports();
    const { freePort } = await import(${JSON.stringify(module)});
    const ports = [];
    for (let count = 0; count < 10; count++) ports.push(await freePort());
    process.stdout.write(JSON.stringify(ports) + "\\n");
  `;
  const ended = [0, 1].map(() =>
    promisify(execFile)(process.execPath, [
      "--input-type=module",
      "--eval",
      `${draw}
      await new Promise((resolve) => setTimeout(resolve, 3_000));`,
    ]),
  );
  const drawn = (await Promise.all(ended)).map(({ stdout }) => JSON.parse(stdout) as number[]);
  expect(new Set(drawn.flat()).size).toBe(20);
});
