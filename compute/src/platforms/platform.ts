// A platform places, starts and watches workers, and nothing else: workers dial the driver themselves, and
// the driver's own heartbeat decides whether they live.

export interface WorkerStart {
  readonly slot: string;
  /** The driver's address, as workers reach it. */
  readonly address: string;
  /** Handed over in the environment, never in arguments, which every user of the machine can read. */
  readonly token: string;
  readonly threads: number;
  readonly memoryBytes: number;
  readonly spillDirectory: string;
}

export interface Platform {
  readonly name: string;
  /** The address on which the driver listens for this platform's workers. */
  readonly listenAddress: string;
  /** `ended` is called once, when the process is gone, with the reason for people. */
  start(worker: WorkerStart, ended: (pid: number, detail: string) => void): void;
  /** Ends the processes of this slot at once. */
  kill(slot: string): void;
  /** Ends all; resolves when none is left. */
  close(): Promise<void>;
}
