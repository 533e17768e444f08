/** API keys from a mounted Secret: each file of the folder holds one, and they may change while we run. */
import { createHash, timingSafeEqual } from "node:crypto";
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { ApiError } from "../api/apiError.ts";

export interface ApiKeys {
  /** Throws 401 unless the header carries an accepted key; lets everyone through when none are configured. */
  check(authorization: string | undefined): void;
  /** Reads the folder again. */
  refresh(): Promise<void>;
}

/** Nobody is asked for a key. */
export const openToAll: ApiKeys = { check: () => undefined, refresh: () => Promise.resolve() };

/** A folder without a single key lets nobody in: an empty Secret must not open the door. */
export function apiKeysIn(folder: string): ApiKeys {
  let accepted: readonly Buffer[] = [];
  return {
    check(authorization) {
      const given = /^Bearer\s+(.+)$/i.exec(authorization ?? "")?.[1];
      const digest = digestOf(given ?? "");
      const known = accepted.map((key) => timingSafeEqual(key, digest)).includes(true);
      if (given !== undefined && known) return;
      throw new ApiError({
        status: 401,
        type: "authentication_error",
        code: "invalid_api_key",
        message:
          given === undefined ? "No API key: send it as a bearer token." : "The API key is not accepted.",
      });
    },
    async refresh() {
      const names = await readdir(folder);
      // Kubernetes keeps the volume's versions in names that begin with two dots.
      const files = names.filter((name) => !name.startsWith(".."));
      const keys = await Promise.all(files.map((name) => readFile(join(folder, name), "utf8")));
      accepted = keys
        .map((key) => key.trim())
        .filter((key) => key !== "")
        .map(digestOf);
    },
  };
}

function digestOf(key: string): Buffer {
  return createHash("sha256").update(key).digest();
}
