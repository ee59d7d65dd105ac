// Services for tests of the owner: plain, and with a log whose appends and flushes wait for the test.
import { type message, openMemoryLog } from '@catena/core';
import { GatedLog } from './gated-log.ts';
import { name, settle, TestClient, TestService } from './service.ts';

export const rootId = 1n;
export const O_RDWR = 2;

export interface Gated {
  service: TestService;
  client: TestClient;
  log: GatedLog;
}
export async function gated(): Promise<Gated> {
  let log: GatedLog | undefined;
  const service = new TestService({
    openLog: (floor) => {
      log = new GatedLog(openMemoryLog(service.logMedium, floor));
      return log;
    },
  });
  await service.open();
  return { service, client: await new TestClient(service).hello(), log: log! };
}
export async function opened(): Promise<{ service: TestService; client: TestClient }> {
  const service = await new TestService().open();
  return { service, client: await new TestClient(service).hello() };
}

/** Whether the promise has settled by now. */
export async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  const note = (): void => {
    settled = true;
  };
  promise.then(note, note);
  await settle();
  return settled;
}
export const makeDirectory = (client: TestClient, text: string): Promise<message.InodeReply> =>
  client.call('makeDirectory', { parent: rootId, name: name(text), mode: 0o755 });
export const lookup = (client: TestClient, text: string): Promise<message.InodeReply> =>
  client.call('lookup', { parent: rootId, name: name(text) });
