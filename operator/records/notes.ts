/**
 * What those who decide have to say in the status of a deployment. The deployment's own reconciler writes it there, as
 * one status has one writer; a change wakes it.
 */
import type { DecisionRecord } from "../../crds/schema/cspsdeployment.ts";
import type { ConditionDraft } from "../planning/status/reason.ts";

export interface StatusNote {
  readonly condition: ConditionDraft;
  /** Newest first. */
  readonly decisions: readonly DecisionRecord[];
}

export class StatusNotes {
  readonly #notes = new Map<string, StatusNote>();
  readonly #listeners: ((key: string) => void)[] = [];

  /** Told the key (<namespace>/<name>) of each deployment whose note changed. */
  onChange(listener: (key: string) => void): void {
    this.#listeners.push(listener);
  }

  of(deploymentUid: string): StatusNote | undefined {
    return this.#notes.get(deploymentUid);
  }

  put(deployment: { readonly uid: string; readonly key: string }, note: StatusNote): void {
    if (JSON.stringify(this.#notes.get(deployment.uid)) === JSON.stringify(note)) return;
    this.#notes.set(deployment.uid, note);
    for (const listener of this.#listeners) listener(deployment.key);
  }

  drop(deployment: { readonly uid: string; readonly key: string }): void {
    if (!this.#notes.delete(deployment.uid)) return;
    for (const listener of this.#listeners) listener(deployment.key);
  }
}
