// One of several managers: waits until the role is free, takes it, and says at any time who has it.
import { type Clock, type Etcd, FsError, type Logger, type Random, sleep } from '@catena/core';
import { type TakenRole, takeRole } from './role.ts';

/** How late it is seen that the role is free; adds to the time without a manager. */
const lookMs = 250;

export interface CandidateOptions {
  readonly etcd: Etcd;
  readonly prefix: string;
  readonly address: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

export class Candidate {
  readonly #options: CandidateOptions;
  #leader = '';

  constructor(options: CandidateOptions) {
    this.#options = options;
  }

  /** Address of the manager that had the role when last looked; empty: not known. */
  get leader(): string {
    return this.#leader;
  }

  /** Resolves when the role is ours; undefined: stopped before. */
  async win(stop: AbortSignal): Promise<TakenRole | undefined> {
    const { clock, log } = this.#options;
    let told = '';
    while (!stop.aborted) {
      try {
        const outcome = await takeRole(this.#options);
        if ('fence' in outcome) {
          this.#leader = this.#options.address;
          log.info('role.taken', { revision: outcome.fence.revision });
          return outcome;
        }
        if (outcome.leader !== this.#leader) log.info('role.standby', { leader: outcome.leader });
        this.#leader = outcome.leader;
        told = '';
      } catch (error) {
        if (!(error instanceof FsError) || error.code !== 'UNREACHABLE') throw error;
        this.#leader = '';
        if (told !== error.message) log.warning('etcd.unreachable', { error }); // one line for one reason
        told = error.message;
      }
      await sleep(clock, lookMs, stop).catch(() => {});
    }
    return undefined;
  }
}
