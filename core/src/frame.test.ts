import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FsError } from './errors.ts';
import { encodeFrame, FrameParser, frameHeaderBytes, writeFrameHeader } from './frame.ts';

interface Frame {
  kind: number;
  flags: number;
  message: string;
}

const frames = fc.array(
  fc.record({
    kind: fc.integer({ min: 0, max: 255 }),
    flags: fc.integer({ min: 0, max: 3 }),
    message: fc.string({ maxLength: 300 }),
  }),
  { maxLength: 12 },
);

function collector(): { seen: Frame[]; parser: FrameParser } {
  const seen: Frame[] = [];
  const parser = new FrameParser((kind, flags, message) => {
    seen.push({ kind, flags, message: message.toString() });
  });
  return { seen, parser };
}

test('frames come out as they went in, however the stream is cut', () => {
  void fc.assert(
    fc.property(frames, fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1 }), (sent, cuts) => {
      const stream = Buffer.concat(sent.map((f) => encodeFrame(f.kind, f.flags, Buffer.from(f.message))));
      const { seen, parser } = collector();
      for (let at = 0, turn = 0; at < stream.length; turn++) {
        const size = cuts[turn % cuts.length]!;
        parser.push(stream.subarray(at, at + size));
        at += size;
      }
      expect(seen).toEqual(sent);
    }),
  );
  const all = Buffer.concat([encodeFrame(1, 0, Buffer.from('ab')), encodeFrame(2, 1, Buffer.alloc(0))]);
  const { seen, parser } = collector();
  for (const byte of all) parser.push(Buffer.from([byte]));
  expect(seen).toEqual([
    { kind: 1, flags: 0, message: 'ab' },
    { kind: 2, flags: 1, message: '' },
  ]);
});

test('a large message arrives whole', () => {
  const message = Buffer.alloc(4 << 20, 'x');
  const frame = encodeFrame(9, 0, message);
  const { seen, parser } = collector();
  for (let at = 0; at < frame.length; at += 65_536) parser.push(frame.subarray(at, at + 65_536));
  expect(seen.map((f) => f.message.length)).toEqual([4 << 20]);
});

test('any flipped bit of a header is refused before its length is believed', () => {
  for (let bit = 0; bit < 128; bit++) {
    const frame = encodeFrame(9, 1, Buffer.alloc(77));
    frame[bit >> 3]! ^= 1 << (bit & 7);
    const { seen, parser } = collector();
    let refused: unknown;
    try {
      parser.push(frame.subarray(0, frameHeaderBytes));
    } catch (error) {
      refused = error;
    }
    expect(refused, `bit ${bit}`).toBeInstanceOf(FsError);
    expect((refused as FsError).code).toBe('BAD_FRAME');
    expect(seen).toEqual([]);
  }
});

test('lengths over the limits and unknown flags are refused though their checksum is right', () => {
  const withHeader = (kind: number, flags: number, payloadBytes: number): Buffer => {
    const frame = Buffer.alloc(frameHeaderBytes);
    writeFrameHeader(frame, 0, kind, flags, 0, payloadBytes);
    return frame;
  };
  const { parser } = collector();
  expect(() => parser.push(withHeader(1, 4, 0))).toThrow(/flags/);
  expect(() => collector().parser.push(withHeader(1, 0, 1))).toThrow(/payload/);
  const taking: string[] = [];
  const withPayload = new FrameParser((_kind, _flags, _message, payload) => taking.push(payload.toString()), {
    payloadBytesMax: 3,
  });
  withPayload.push(Buffer.concat([withHeader(1, 0, 3), Buffer.from('abc')]));
  expect(taking).toEqual(['abc']);
  expect(() => withPayload.push(withHeader(1, 0, 4))).toThrow(/payload/);
  expect(() => encodeFrame(1, 0, Buffer.alloc((4 << 20) + 1))).toThrow(/message/);
});
