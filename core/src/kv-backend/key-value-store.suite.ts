// What every key-value store must do. `StoreHome` opens the same store again after an orderly end.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type KeyValueChange, type KeyValueStore, keyBytesMax } from './key-value-store.ts';

export interface StoreHome {
  open(): Promise<KeyValueStore>;
}

const put = (key: string, value: string): KeyValueChange => ({
  key: Buffer.from(key),
  value: Buffer.from(value),
});
const drop = (key: string): KeyValueChange => ({ key: Buffer.from(key) });
const all = { from: Buffer.from([0]), to: Buffer.alloc(1900, 0xff) };

function contents(store: KeyValueStore): [string, string][] {
  return [...store.range(all)].map(([key, value]) => [key.toString('hex'), value.toString('hex')]);
}

export function keyValueStoreSuite(newHome: () => StoreHome): void {
  test('a write changes keys and position together; readers see it when it resolves', async () => {
    const store = await newHome().open();
    expect(store.position).toBe(0n);
    expect(store.get(Buffer.from('a'))).toBeUndefined();
    await store.write([put('a', '1'), put('b', ''), put('c', '3'), drop('never')], 7n);
    expect(store.get(Buffer.from('a'))?.toString()).toBe('1');
    expect(store.get(Buffer.from('b'))?.length).toBe(0);
    expect(store.position).toBe(7n);
    await store.write([drop('a'), put('c', 'three'), put('c', 'drei')], 9n);
    expect(store.get(Buffer.from('a'))).toBeUndefined();
    expect(store.get(Buffer.from('c'))?.toString()).toBe('drei');
    await store.write([], 10n);
    expect(store.position).toBe(10n);
    await store.flush();
    expect(store.flushedPosition).toBe(10n);
    await store.close();
  });

  test('keys are ordered by their bytes; ranges have bounds and limits', async () => {
    const store = await newHome().open();
    const keys = [[0], [0, 0], [0, 1], [1], [1, 255], [2], [97], [97, 0], [127], [128], [255], [255, 255]];
    const shuffled = [...keys].sort((a, b) => (a.at(-1)! % 7) - (b.at(-1)! % 7));
    await store.write(
      shuffled.map((key) => ({ key: Buffer.from(key), value: Buffer.from(key) })),
      1n,
    );
    expect([...store.range(all)].map(([key]) => [...key])).toEqual(keys);
    const part = store.range({ from: Buffer.from([0, 1]), to: Buffer.from([97, 0]) });
    expect([...part].map(([key, value]) => [[...key], [...value]])).toEqual([
      [
        [0, 1],
        [0, 1],
      ],
      [[1], [1]],
      [
        [1, 255],
        [1, 255],
      ],
      [[2], [2]],
      [[97], [97]],
    ]);
    const limited = [...store.range({ from: Buffer.from([1]), to: Buffer.from([255]), limit: 2 })];
    expect(limited.map(([key]) => [...key])).toEqual([[1], [1, 255]]);
    expect([...store.range({ from: Buffer.from([3]), to: Buffer.from([3]) })]).toEqual([]);
    await store.close();
  });

  test('what it returned stays as it was, whatever is written later', async () => {
    const store = await newHome().open();
    const long = 'x'.repeat(3000);
    await store.write([put('k', long), put('l', 'l1')], 1n);
    const value = store.get(Buffer.from('k'));
    const listed = [...store.range(all)];
    for (let round = 2n; round < 30n; round++)
      await store.write([put('k', 'y'.repeat(3000)), put('l', 'l2')], round);
    expect(value?.toString()).toBe(long);
    expect(listed.map(([, bytes]) => bytes.toString())).toEqual([long, 'l1']);
    await store.close();
  });

  test('writes are carried out in the order of their calls and survive closing', async () => {
    const home = newHome();
    const store = await home.open();
    const writes = Array.from({ length: 50 }, (_, index) =>
      store.write([put('k', `${index}`)], BigInt(index + 1)),
    );
    await writes[20];
    expect(store.position).toBeGreaterThanOrEqual(21n);
    await Promise.all(writes);
    expect(store.get(Buffer.from('k'))?.toString()).toBe('49');
    await store.close();
    await store.close();
    const next = await home.open();
    expect([next.position, next.flushedPosition]).toEqual([50n, 50n]);
    expect(next.get(Buffer.from('k'))?.toString()).toBe('49');
    await next.close();
  });

  test('keys at the limit, large values and many changes at once', async () => {
    const home = newHome();
    const store = await home.open();
    const longest = 'k'.repeat(keyBytesMax);
    const many = Array.from({ length: 5000 }, (_, index) =>
      put(`m${index.toString().padStart(6, '0')}`, `${index}`),
    );
    await store.write([put(longest, 'v'), put('big', 'z'.repeat(1 << 20)), ...many], 1n);
    await store.close();
    const next = await home.open();
    expect(next.get(Buffer.from(longest))?.toString()).toBe('v');
    expect(next.get(Buffer.from('big'))?.length).toBe(1 << 20);
    expect([...next.range({ from: Buffer.from('m'), to: Buffer.from('n') })]).toHaveLength(5000);
    await next.close();
  });

  test('it does what a sorted map does', async () => {
    const key = fc.uint8Array({ minLength: 1, maxLength: 4 });
    const change = fc.record({ key, value: fc.option(fc.uint8Array({ maxLength: 5 }), { nil: undefined }) });
    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(change, { maxLength: 6 }), { maxLength: 8 }), async (batches) => {
        const home = newHome();
        let store = await home.open();
        const model = new Map<string, string>();
        let position = 0n;
        for (const batch of batches) {
          await store.write(batch, ++position);
          for (const { key: bytes, value } of batch) {
            const text = Buffer.from(bytes).toString('hex');
            if (value === undefined) model.delete(text);
            else model.set(text, Buffer.from(value).toString('hex'));
          }
          expect(contents(store)).toEqual([...model].sort(([a], [b]) => (a < b ? -1 : 1)));
        }
        await store.close();
        store = await home.open();
        expect(contents(store)).toEqual([...model].sort(([a], [b]) => (a < b ? -1 : 1)));
        expect(store.position).toBe(position);
        await store.close();
      }),
      { numRuns: 30 },
    );
  });

  test('a position that goes back, and a key that no store takes, are our bugs', async () => {
    const store = await newHome().open();
    await store.write([], 5n);
    const tries = [
      async () => store.write([], 4n),
      async () => store.write([{ key: Buffer.alloc(0) }], 6n),
      async () => store.write([{ key: Buffer.alloc(keyBytesMax + 1) }], 6n),
    ];
    for (const attempt of tries) await expect(attempt()).rejects.toThrow(/position|key/);
    expect(store.position).toBe(5n);
    await store.close();
    expect(() => store.get(Buffer.from('a'))).toThrow(/closed/);
  });
}
