// What every log must do. `LogHome` opens the same log again, after an orderly end or the death of the
// process.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { AppendLog, LogFloor, LogRecord } from './append-log.ts';

export interface LogHome {
  open(floor?: LogFloor): AppendLog;
  /** The process dies: nothing is flushed or closed in order. */
  abandon(log: AppendLog): void;
}

export async function bodiesOf(log: AppendLog, from = 0n): Promise<string[]> {
  return (await recordsOf(log, from)).map((record) => record.body.toString());
}

export async function recordsOf(log: AppendLog, from = 0n): Promise<LogRecord[]> {
  const records: LogRecord[] = [];
  for await (const record of log.read(from)) records.push(record);
  return records;
}

const bytes = (...texts: string[]): Buffer[] => texts.map((text) => Buffer.from(text));

export function appendLogSuite(newHome: () => LogHome): void {
  test('records come back in order under rising numbers', async () => {
    const log = newHome().open();
    expect(log.appended).toBe(0n);
    expect(await log.append(bytes('a', 'b'))).toBe(2n);
    expect(await log.append([])).toBe(2n);
    const both = await Promise.all([log.append(bytes('c')), log.append(bytes('', 'd'))]);
    expect(both).toEqual([3n, 5n]);
    const records = await recordsOf(log);
    expect(records.map((record) => record.number)).toEqual([1n, 2n, 3n, 4n, 5n]);
    expect(records.map((record) => record.body.toString())).toEqual(['a', 'b', 'c', '', 'd']);
    expect(await bodiesOf(log, 4n)).toEqual(['', 'd']);
    expect(await bodiesOf(log, 6n)).toEqual([]);
    await log.close();
  });

  test('flush covers what was appended before it, and close flushes', async () => {
    const home = newHome();
    const log = home.open();
    await log.append(bytes('a', 'b'));
    expect(log.flushed).toBeLessThanOrEqual(2n);
    expect(await log.flush()).toBeGreaterThanOrEqual(2n);
    expect(log.flushed).toBe(2n);
    await log.append(bytes('c'));
    await log.close();
    const next = home.open();
    expect([next.appended, next.flushed]).toEqual([3n, 3n]);
    await next.close();
  });

  test('the death of the process loses nothing that was appended; each opening has a higher epoch', async () => {
    const home = newHome();
    let expected: string[] = [];
    let epoch = 0n;
    for (let round = 1; round <= 5; round++) {
      const log = home.open();
      expect(log.epoch).toBeGreaterThan(epoch);
      epoch = log.epoch;
      expect(log.appended).toBe(BigInt(expected.length));
      expect(await bodiesOf(log)).toEqual(expected);
      const more = Array.from({ length: round === 3 ? 0 : round }, (_, index) => `${round}.${index}`);
      await log.append(bytes(...more));
      expected = [...expected, ...more];
      const last = (await recordsOf(log)).at(-1);
      if (more.length > 0) expect(last?.epoch).toBe(epoch);
      home.abandon(log);
    }
  });

  test('numbers and epochs start above the floor, also twice, and what is below stays readable', async () => {
    const home = newHome();
    const first = home.open();
    await first.append(bytes('a', 'b'));
    await first.close();
    for (const round of [1, 2]) {
      const empty = home.open({ number: 20n, epoch: 50n });
      expect([empty.appended, empty.flushed]).toEqual([20n, 20n]);
      expect(empty.epoch).toBeGreaterThanOrEqual(50n + BigInt(round));
      home.abandon(empty);
    }
    const log = home.open({ number: 20n, epoch: 50n });
    expect(await log.append(bytes('x'))).toBe(21n);
    home.abandon(log);
    const last = home.open({ number: 5n, epoch: 1n });
    expect((await recordsOf(last)).map((record) => record.number)).toEqual([1n, 2n, 21n]);
    expect(await last.append(bytes('y'))).toBe(22n);
    await last.close();
  });

  test('trimming never loses a record that was not given up', async () => {
    const home = newHome();
    const log = home.open();
    for (let index = 1; index <= 40; index++) await log.append(bytes(`record ${index} of some length`));
    await log.trim(1n);
    expect(await bodiesOf(log)).toHaveLength(40);
    await log.trim(30n);
    const kept = (await recordsOf(log)).map((record) => Number(record.number));
    expect(kept).toEqual(Array.from({ length: 41 - kept[0]! }, (_, index) => kept[0]! + index));
    expect(kept[0]).toBeLessThanOrEqual(30);
    await log.trim(1_000n);
    expect(await log.append(bytes('next'))).toBe(41n);
    home.abandon(log);
    const next = home.open({ number: 41n, epoch: 0n });
    expect(next.appended).toBe(41n);
    expect((await recordsOf(next, 41n)).map((record) => record.body.toString())).toEqual(['next']);
    await next.close();
  });

  test('a reader sees what is appended while it reads', async () => {
    const log = newHome().open();
    await log.append(bytes('a', 'b'));
    const seen: string[] = [];
    for await (const record of log.read(1n)) {
      seen.push(record.body.toString());
      if (seen.length === 1) await log.append(bytes('c'));
    }
    expect(seen).toEqual(['a', 'b', 'c']);
    await log.close();
  });

  test('a closed log refuses', async () => {
    const log = newHome().open();
    await log.close();
    await log.close();
    await expect(log.append(bytes('a'))).rejects.toMatchObject({ code: 'IO' });
    await expect(log.flush()).rejects.toMatchObject({ code: 'IO' });
    await expect(bodiesOf(log)).rejects.toMatchObject({ code: 'IO' });
  });

  test('any history of appends, deaths and openings reads back whole', async () => {
    const step = fc.oneof(
      fc.array(fc.string({ maxLength: 40 }), { minLength: 1, maxLength: 5 }),
      fc.constantFrom('die', 'close', 'flush'),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
        const home = newHome();
        let log = home.open();
        const model: string[] = [];
        for (const action of steps) {
          if (Array.isArray(action)) {
            expect(await log.append(bytes(...action))).toBe(BigInt(model.push(...action)));
          } else if (action === 'flush') {
            expect(await log.flush()).toBe(BigInt(model.length));
          } else {
            if (action === 'die') home.abandon(log);
            else await log.close();
            log = home.open();
          }
        }
        expect(await bodiesOf(log)).toEqual(model);
        await log.close();
      }),
      { numRuns: 60 },
    );
  });
}
