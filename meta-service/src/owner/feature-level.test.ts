// P27: what the cluster's manager allows is written, whatever this release knows, and who cannot read it is refused.
import { FsError, featureLevel, featureLevelOldest, message } from '@catena/core';
import { expect, test } from 'vitest';
import { settle, TestService } from '../testing/service.ts';

const codeOf = (error: unknown): string => (error instanceof FsError ? error.code : String(error));

/** What a client that knows so much is told; `OK`: it has a session. */
async function hello(service: TestService, level: number): Promise<string> {
  const header = message.RequestHeader.fromPartial({ client: Buffer.alloc(16, level + 1) });
  try {
    await new Promise((resolve) =>
      service.partition.greet({ header, host: 'there', featureLevel: level }, resolve),
    );
    return 'OK';
  } catch (error) {
    return codeOf(error);
  }
}

const reopened = (service: TestService): Promise<string> => service.open().then(() => 'OK', codeOf);

test('a new release among older ones writes what they can read, until the manager says otherwise', async () => {
  const service = new TestService();
  service.featureLevel = featureLevel + 1;
  await service.open();
  expect(service.partition.join('c', featureLevel)).toBeUndefined();
  await settle();
  expect(await hello(service, featureLevel)).toBe('OK');
  expect(await hello(service, featureLevel - 1)).toBe('NEWER_DATA');
  // The way back is open.
  await service.partition.close();
  service.featureLevel = featureLevel;
  expect(await reopened(service)).toBe('OK');
  expect(service.partition.cluster).toBe('c');
});

test('the level that the manager raised is on the medium: from then on older clients and releases are refused', async () => {
  const service = new TestService();
  service.featureLevel = featureLevel + 1;
  await service.open();
  expect(await hello(service, featureLevelOldest)).toBe('OK');
  expect(service.partition.join('c', featureLevel)).toBeUndefined();
  expect(service.partition.join('c', featureLevel + 1)).toBeUndefined();
  // A manager that lost its memory takes nothing back.
  expect(service.partition.join('c', featureLevel)).toBeUndefined();
  await settle();
  expect(await hello(service, featureLevel)).toBe('NEWER_DATA');
  expect(await hello(service, featureLevel + 1)).toBe('OK');
  await service.partition.close();
  service.featureLevel = featureLevel;
  expect(await reopened(service)).toBe('NEWER_DATA');
  service.featureLevel = featureLevel + 1;
  expect(await reopened(service)).toBe('OK');
  expect(await hello(service, featureLevel)).toBe('NEWER_DATA');
});

test('a release that is too old for its cluster, or of another one, joins nothing', async () => {
  const service = await new TestService().open();
  expect(service.partition.join('c', featureLevel)).toBeUndefined();
  expect(codeOf(service.partition.join('c', featureLevel + 1))).toBe('NEWER_DATA');
  expect(codeOf(service.partition.join('d', featureLevel))).toBe('WRONG_CLUSTER');
  expect(service.partition.cluster).toBe('c');
  expect(await hello(service, featureLevel)).toBe('OK');
});
