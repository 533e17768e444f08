/** Limits of this machine's kernel that several nodes on it share. */
import { readFile, writeFile } from "node:fs/promises";
import { say } from "./progress.ts";

/** systemd, containerd and the kubelet of a node take a dozen; Linux allows 128 for each user by default. */
const INSTANCES = 1024;
const INSTANCES_FILE = "/proc/sys/fs/inotify/max_user_instances";

/** Raises the number of inotify instances where it would not do for a second cluster. Says what it changes. */
export async function raiseInotifyLimit(): Promise<void> {
  const present = Number(await readFile(INSTANCES_FILE, "utf8"));
  if (present >= INSTANCES) return;
  try {
    await writeFile(INSTANCES_FILE, String(INSTANCES));
    say(`  fs.inotify.max_user_instances raised from ${present} to ${INSTANCES}, until the next boot`);
  } catch {
    say(
      `  fs.inotify.max_user_instances is ${present}: nodes may stay NotReady; set it to ${INSTANCES} if they do`,
    );
  }
}
