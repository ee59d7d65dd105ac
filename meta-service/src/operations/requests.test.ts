import { message } from '@catena/core';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import * as requests from './requests.ts';

const u32 = fc.nat({ max: 0xffffffff });
const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const s64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
const bytes = (maxLength: number) => fc.uint8Array({ maxLength }).map((array) => Buffer.from(array));
const user = fc.record({ uid: u32, gid: u32, groups: fc.array(u32, { maxLength: 5 }), pid: u32 });
const header: fc.Arbitrary<message.RequestHeader> = fc.record({
  requestId: u64,
  deadlineMs: u32,
  priority: fc.nat(4),
  user: fc.option(user, { nil: undefined }),
  capability: bytes(20),
  client: fc.uint8Array({ minLength: 16, maxLength: 16 }).map((array) => Buffer.from(array)),
  sequence: u64,
  answeredUpTo: u64,
});

function expected(sent: message.RequestHeader): requests.Header {
  const { requestId, deadlineMs, sequence, answeredUpTo } = sent;
  const caller = sent.user && { uid: sent.user.uid, gid: sent.user.gid, groups: sent.user.groups };
  const client = sent.client.toString('latin1');
  return { requestId, deadlineMs, sequence, answeredUpTo, client, caller };
}

test('headers are read as the generated code writes them', () => {
  void fc.assert(
    fc.property(fc.array(header, { minLength: 1, maxLength: 4 }), (headers) => {
      // Each twice: the second time client and user come from memory.
      for (const sent of headers.flatMap((each) => [each, each])) {
        const encoded = Buffer.from(message.StatRequest.encode({ header: sent, inode: 77n }).finish());
        const read = requests.readHeader(encoded);
        expect(read.header).toEqual(expected(sent));
        expect(requests.readStat(encoded, read.bodyStart)).toEqual({ inode: 77n });
      }
    }),
  );
});

interface Codec<T> {
  encode(value: T): { finish(): Uint8Array };
}
function same<Body extends object>(
  codec: Codec<Body & { header: undefined }>,
  read: (bytes: Buffer, start: number) => Body,
  body: fc.Arbitrary<Body>,
): void {
  void fc.assert(
    fc.property(body, (value) => {
      const encoded = Buffer.from(codec.encode({ ...value, header: undefined }).finish());
      expect(read(encoded, 0)).toEqual(value);
    }),
  );
}

test('bodies are read as the generated code writes them', () => {
  const report = fc.record({
    length: u64,
    generation: u64,
    ageNs: u64,
    allocatedDelta: s64,
    unchanged: fc.boolean(),
  });
  same(message.LookupRequest, requests.readLookup, fc.record({ parent: u64, name: bytes(255) }));
  same(message.StatRequest, requests.readStat, fc.record({ inode: u64 }));
  same(message.OpenRequest, requests.readOpen, fc.record({ inode: u64, flags: u32, written: u64 }));
  same(
    message.CreateRequest,
    requests.readCreate,
    fc.record({ parent: u64, name: bytes(255), mode: u32, flags: u32 }),
  );
  same(
    message.CloseRequest,
    requests.readClose,
    fc.record({ inode: u64, session: u64, report: fc.option(report, { nil: undefined }) }),
  );
});

test('garbage is refused', () => {
  void fc.assert(
    fc.property(header, bytes(60), fc.nat(200), (sent, garbage, cut) => {
      const whole = Buffer.from(message.StatRequest.encode({ header: sent, inode: 5n }).finish());
      for (const bad of [garbage, whole.subarray(0, cut % whole.length)]) {
        try {
          const { bodyStart } = requests.readHeader(bad);
          for (const read of [requests.readCreate, requests.readClose, requests.readLookup])
            read(bad, bodyStart);
        } catch (error) {
          expect(error).toMatchObject({ code: 'BAD_MESSAGE' });
        }
      }
    }),
  );
});
