import { describe, expect, it } from "vitest";
import { parseOptions } from "./options.ts";

describe("parseOptions", () => {
  it("lets a flag win over the environment, and the environment over the default", () => {
    const environment = {
      CSPS_OPERATOR_LOG_LEVEL: "warn",
      CSPS_OPERATOR_REDIS_IMAGE: "r:9",
      CSPS_OPERATOR_NAMESPACE: "",
    };
    const options = parseOptions(["--log-level", "debug", "--metrics-port", "0"], environment);
    expect(options).toMatchObject({
      logLevel: "debug",
      metricsPort: 0,
      healthPort: 8081,
      leaderElect: true,
      ownNamespace: "csps-system",
      images: { redis: "r:9", gateway: "csps/gateway:0.1.0" },
    });
    expect(parseOptions(["--no-leader-elect"], {})?.leaderElect).toBe(false);
  });

  it("asks for help", () => {
    expect(parseOptions(["--help"], {})).toBeUndefined();
  });

  it.each([
    [["--metrics-port", "x"], '--metrics-port must be a port from 0 to 65535, not "x"'],
    [["--health-port", "70000"], '--health-port must be a port from 0 to 65535, not "70000"'],
    [["--log-level", "loud"], '--log-level must be one of debug, info, warn, error, not "loud"'],
    [["--unknown"], "Unknown option '--unknown'"],
  ])("refuses %j", (args, message) => {
    expect(() => parseOptions(args, {})).toThrow(message);
  });
});
