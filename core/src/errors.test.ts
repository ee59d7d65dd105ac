import { expect, test } from 'vitest';
import {
  codeFromNumber,
  type ErrorCode,
  errorOfReplyHeader,
  FsError,
  fromSystemError,
  numberOfCode,
  replyHeaderOf,
} from './errors.ts';
import { errorTable } from './generated/errors.ts';

test('every code survives a reply header', () => {
  for (const code of Object.keys(errorTable) as ErrorCode[]) {
    if (code === 'OK') continue;
    const header = replyHeaderOf(new FsError(code, 'what', { retryAfterMs: 9 }), 7n);
    expect(header).toEqual({ requestId: 7n, code: numberOfCode(code), detail: 'what', retryAfterMs: 9 });
    const back = errorOfReplyHeader(header);
    expect(back).toMatchObject({ code, detail: 'what', retryAfterMs: 9, errno: errorTable[code].errno });
    expect(back?.retryable).toBe(errorTable[code].retryable);
  }
  expect(errorOfReplyHeader({ requestId: 1n, code: 0, detail: '', retryAfterMs: 0 })).toBeUndefined();
  expect(errorOfReplyHeader(undefined)?.code).toBe('BAD_MESSAGE');
  expect(codeFromNumber(54321)).toBe('INTERNAL');
});

test('the sentence says what, then where', () => {
  expect(new FsError('NO_SPACE', 'target 7').message).toBe(`${errorTable.NO_SPACE.text}: target 7`);
  expect(new FsError('NO_SPACE').message).toBe(errorTable.NO_SPACE.text);
});

test('errors of the system are converted, our own bugs are not', () => {
  const system = Object.assign(new Error('ENOSPC: no space'), { code: 'ENOSPC' });
  expect(fromSystemError(system, 'writing x')).toMatchObject({ code: 'NO_SPACE', cause: system });
  const odd = Object.assign(new Error('EISDIR: odd'), { code: 'EISDIR' });
  expect(fromSystemError(odd, 'reading x').code).toBe('IO');
  const own = new FsError('BUSY');
  expect(fromSystemError(own, 'x')).toBe(own);
  const bug = new TypeError('undefined is not a function');
  expect(() => fromSystemError(bug, 'x')).toThrow(bug);
});
