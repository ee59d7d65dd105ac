// What is only restored, on a full disk: the copy of a damaged chunk, or of all that a member lost. It takes nothing of
// the reserve, is refused with a reason that people are told, and done when there is room; nothing else waits for it.
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { open, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { command, fill, isRunning, isStopped, LoopFileSystem } from '../faults/machine.ts';
import { contentOf } from './content.ts';
import { find } from './on-disk.ts';
import { catena, RunningCluster } from './running-cluster.ts';

const MiB = 1024 * 1024;
const blockBytes = 4096;
const diskBytes = 512 * MiB;
const reserveBytes = 64 * MiB;
/** With its catalogue and journal. */
const emptyTargetBytes = reserveBytes + 4 * MiB;
let cluster: RunningCluster;
/** Of the first server, the head of the only chain: a file system of its own, of which it may have all. */
let disk: string;
let fileSystem: LoopFileSystem;

beforeAll(() => {
  cluster = RunningCluster.prepare();
  cluster.init('--targets-per-disk', '1');
  const image = join(dirname(cluster.directory), 'image');
  writeFileSync(image, '');
  truncateSync(image, diskBytes);
  command('mkfs.ext4', '-q', '-m', '0', image);
  disk = join(cluster.directory, 'storage-1', 'disk-0');
  fileSystem = LoopFileSystem.mount(image, disk, false);
  rmSync(join(disk, 'lost+found'), { recursive: true });
  cluster.up();
});
afterAll(async () => {
  cluster.down();
  await fileSystem.unmount();
  cluster.remove();
});
afterEach(() => rmSync(filler(), { force: true }));

interface Member {
  readonly node: number;
  readonly state: string;
  readonly missingBytes: string;
}

/** The only chain. */
async function chain(): Promise<{ version: string; members: readonly Member[] }> {
  const [only] = (await cluster.page<{ version: string; members: readonly Member[] }[]>('chains')) ?? [];
  return only ?? { version: '', members: [] };
}

const at = (name: string): string => join(cluster.mount, name);
const filler = (): string => join(disk, 'filler');

function allocatedReserve(): number {
  const [reserve = ''] = readdirSync(disk, { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('/reserve'),
  );
  return statSync(join(disk, reserve)).blocks * 512;
}

/** A file of one chunk. */
interface Small {
  readonly name: string;
  readonly inode: number;
  readonly content: Buffer;
}

function makeSmall(name: string, seed: number): Small {
  const content = contentOf(seed, MiB);
  writeFileSync(at(name), content, { flush: true });
  return { name, inode: statSync(at(name)).ino, content };
}

/** What the first server said of its chunk. */
const saidOf = ({ inode }: Small, event: string): string[] =>
  cluster
    .events('storage-1')
    .filter((line) => line.event === event && line.inode === inode)
    .map((line) => String(line.error));

/** Spoils its third block below the first server. */
function damage({ name, content }: Small): void {
  const [place] = find(disk, content.subarray(2 * blockBytes, 3 * blockBytes));
  if (place === undefined) throw new Error(`the block of ${name} is not on the disk`);
  const fd = openSync(place.path, 'r+');
  writeSync(fd, Buffer.alloc(blockBytes, 0x5a), 0, blockBytes, place.offset);
  closeSync(fd);
}

/** While the others answer nothing, so that the head stores it over the damage, and its disk is full from then on. */
async function writeOverDamage(file: Small, bytes: Buffer, position: number): Promise<void> {
  const others = ['storage-2', 'storage-3', 'manager'].map((process) => cluster.pidOf(process));
  const tellOthers = (signal: NodeJS.Signals): void => {
    for (const pid of others) process.kill(pid, signal);
  };
  const fillThenGoOn = async (): Promise<void> => {
    try {
      await cluster.until('it is stored over damage', () => saidOf(file, 'chunk.damaged').length > 0);
      fill(filler());
    } finally {
      tellOthers('SIGCONT');
    }
  };
  const handle = await open(at(file.name), 'r+');
  try {
    tellOthers('SIGSTOP');
    await cluster.until('they answer nothing', () => others.every(isStopped));
    await Promise.all([handle.write(bytes, 0, bytes.length, position), fillThenGoOn()]);
    bytes.copy(file.content, position);
  } finally {
    tellOthers('SIGCONT');
    await handle.close();
  }
}

test('a damaged block needs no room, and a chunk that must be written anew waits for it', async () => {
  const [mended, anew] = [makeSmall('mended', 1), makeSmall('anew', 2)];
  const before = await chain();
  expect(before.members[0]).toMatchObject({ node: 1, state: 'serving' });
  damage(mended);
  damage(anew);
  await writeOverDamage(anew, contentOf(9, 100), 2 * blockBytes + 500);

  expect(catena('scrub', '--dir', cluster.directory).status).toBe(0);
  await cluster.until('the block is repaired', () => saidOf(mended, 'chunk.repaired').length > 0);
  const refusals = (): string[] =>
    saidOf(anew, 'chunk.unrepaired').filter((said) => said.includes('NO_SPACE'));
  await cluster.until('the chunk finds no room', () => refusals().length > 0);
  // What the target knows of its room may be older than the filler: then the disk says it.
  expect(refusals()[0]).toMatch(
    /a copy of 1048576 bytes: .* has \d+ left, its reserve is for|the disk is full/,
  );
  expect(saidOf(anew, 'chunk.repaired')).toEqual([]);
  const { bavail, bsize } = statfsSync(disk);
  expect(bavail * bsize, 'what was given back is not enough').toBeLessThan(MiB);
  expect(allocatedReserve()).toBeGreaterThanOrEqual(reserveBytes);
  expect(await chain(), 'a full disk is no failed one').toEqual(before);

  unlinkSync(filler());
  await cluster.until('the chunk is repaired', () => saidOf(anew, 'chunk.repaired').length > 0);
  expectEqualCopies();
  for (const { name, content } of [mended, anew]) {
    expect(readFileSync(at(name)).equals(content), name).toBe(true);
  }
});

function expectEqualCopies(): void {
  const verified = catena('verify', '--dir', cluster.directory);
  expect(verified.status, verified.stdout + verified.stderr).toBe(0);
}

/** The first server comes back with an empty disk, on which there is hardly room for what the others hold. */
async function comeBackEmpty(roomBytes: number): Promise<void> {
  const supervisor = cluster.supervisorPid();
  process.kill(supervisor, 'SIGSTOP');
  try {
    const pid = cluster.kill('storage-1');
    await cluster.until('the server is gone', () => !isRunning(pid));
    for (const name of readdirSync(disk)) rmSync(join(disk, name), { recursive: true });
    const { bavail, bsize } = statfsSync(disk);
    const taken = bavail * bsize - emptyTargetBytes - roomBytes;
    command('fallocate', '--length', String(taken), filler());
  } finally {
    process.kill(supervisor, 'SIGCONT');
  }
}

/** Files that are there and new ones, one after another; nobody who writes is refused anything for want of room. */
async function writeUntil(holds: () => Promise<boolean>): Promise<{ refused: number; wrote: boolean }> {
  let [tries, rounds, refused] = [true, 0, 0];
  const write = async (): Promise<void> => {
    for (; tries; rounds++) {
      for (const name of [`large/${rounds % 48}`, 'meanwhile']) {
        await writeFile(at(name), contentOf(rounds, MiB), { flush: true }).catch((error: unknown) => {
          if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
          refused++;
        });
      }
    }
  };
  const writes = write();
  try {
    await cluster.until('it lacks room', holds);
  } finally {
    tries = false;
    await writes;
  }
  return { refused, wrote: rounds > 0 };
}

test('a member whose copy does not fit stays out of its chain, people are told, and it comes back', async () => {
  const files = Array.from({ length: 48 }, (_, index) => `large/${index}`);
  mkdirSync(at('large'));
  for (const [index, name] of files.entries())
    writeFileSync(at(name), contentOf(index, MiB), { flush: true });
  await comeBackEmpty(8 * MiB);
  const own = async (): Promise<Member | undefined> => (await chain()).members.find(({ node }) => node === 1);
  const lacksRoom = async (): Promise<boolean> => {
    const member = await own();
    return member?.state === 'offline' && Number(member.missingBytes) > 30 * MiB;
  };
  expect(await writeUntil(lacksRoom)).toEqual({ refused: 0, wrote: true });
  expect(catena('chains', '--dir', cluster.directory).stdout).toMatch(
    /1000001 on 1 \(offline, its disk lacks \d+ MiB\)/,
  );
  const status = catena('status', '--dir', cluster.directory);
  expect(status.status).toBe(1);
  expect(status.stdout).toMatch(/chain 1: target 1000001 is offline, its disk lacks \d+ MiB/);
  expect(catena('targets', '--dir', cluster.directory).stdout).toMatch(
    /1000001.* offline, its disk lacks \d+ MiB/,
  );
  expect(allocatedReserve()).toBeGreaterThanOrEqual(reserveBytes);

  // The others go on, and it lets them: nothing is tried before there is room.
  const { version } = await chain();
  for (let index = 0; index < 20; index++) writeFileSync(at('again'), contentOf(index, MiB), { flush: true });
  expect((await chain()).version).toBe(version);

  for (const name of files.slice(0, -4)) unlinkSync(at(name));
  await cluster.untilReady();
  expect(Number((await chain()).version), 'synced once').toBeLessThanOrEqual(Number(version) + 4);
  expect(allocatedReserve()).toBeGreaterThanOrEqual(reserveBytes);
  expectEqualCopies();
});
