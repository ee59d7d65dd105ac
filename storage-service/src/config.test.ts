import { parseConfig } from '@catena/core';
import { expect, test } from 'vitest';
import { checkStorageConfig, mediaOfDisks, type StorageConfig, storageConfigSchema } from './config.ts';

function configOf(lines: string): StorageConfig {
  const text = `node = 1\ncluster = "c"\ndisks = ["/a", "/b", "/c"]\n${lines}\n`;
  const config = parseConfig(storageConfigSchema, text, 'storage-1.toml');
  checkStorageConfig(config);
  return config;
}

test('media is one for all disks, or one per disk', () => {
  expect(mediaOfDisks(configOf(''))).toEqual(['buffered', 'buffered', 'buffered']);
  expect(mediaOfDisks(configOf('media = ["direct"]'))).toEqual(['direct', 'direct', 'direct']);
  const each = 'media = ["buffered", "direct", "buffered"]';
  expect(mediaOfDisks(configOf(each))).toEqual(['buffered', 'direct', 'buffered']);
});

test('media that is none, or of other disks, is refused in one line', () => {
  const refused = (lines: string): string => {
    try {
      configOf(lines);
    } catch (error) {
      return String(error);
    }
    return 'accepted';
  };
  expect(refused('media = ["direkt"]')).toMatch(
    /"media" must be a list of buffered, direct, not \["direkt"\]$/,
  );
  expect(refused('media = "direct"')).toMatch(
    /"media" must be a list of 1 to 64 texts \(media\), not "direct"$/,
  );
  expect(refused('media = ["direct", "direct"]')).toMatch(
    /"media" has 2 entries for 3 disks: give one for all, or one per disk$/,
  );
});
