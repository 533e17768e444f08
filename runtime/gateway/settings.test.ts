import { describe, expect, it } from "vitest";
import { gatewayEnvironment } from "../wire/schema/environment.ts";
import { help, readSettings } from "./settings.ts";

const complete = {
  CSPS_NAMESPACE: "ns",
  CSPS_DEPLOYMENT: "d",
  CSPS_MODEL_NAME: "m",
  CSPS_RANKS_HOST: "d-ranks",
  CSPS_CONTROL_TOKEN_FILE: import.meta.filename,
};

describe("the gateway's settings", () => {
  it("have defaults for what is not required", () => {
    expect(readSettings({ ...complete, CSPS_PORT: "" })).toMatchObject({
      CSPS_PORT: 8000,
      CSPS_CONTROL_PORT: 9000,
      CSPS_REDIS_URL_FILE: "",
      CSPS_LOG_LEVEL: "info",
    });
  });

  it("name every variable that is missing or wrong, a line each", () => {
    const wrong = {
      ...complete,
      CSPS_MODEL_NAME: "",
      CSPS_PORT: "http",
      CSPS_CONTROL_TOKEN_FILE: "/nowhere/token",
    };
    expect(() => readSettings(wrong)).toThrow(
      "CSPS_MODEL_NAME is required\nCSPS_PORT has to be a TCP port\nCSPS_CONTROL_TOKEN_FILE names a file that is not there",
    );
  });

  it("are those of the contract with the operator, and all are explained", () => {
    const known = Object.keys(readSettings(complete));
    for (const name of Object.keys(gatewayEnvironment.shape)) expect(known).toContain(name);
    for (const name of known) expect(help).toContain(name);
  });
});
