// The file system for programs, without a mount: paths, promises, buffers. It keeps no cache of names: each
// call asks.
import { constants } from 'node:fs';
import { hostname } from 'node:os';
import { FsError, message } from '@catena/core';
import { Client, type Place, type User } from '@catena/native';
import { about } from './about.ts';
import { FileHandle } from './file-handle.ts';
import { Names } from './names.ts';
import { type PathSteps, resolveLastLinks, resolveParent, resolvePath } from './paths.ts';
import { type DirectoryEntry, type FileStats, type FileSystemStats, kindOf, statsOf } from './stats.ts';
import { copyIn, copyOut, writeWhole } from './transfer.ts';

export interface FileSystemOptions {
  /** "host:port" of the managers. */
  readonly managers: readonly string[];
  /** Refuse another cluster; absent: any. */
  readonly cluster?: string;
  /** Whose permissions count; absent: this process's. */
  readonly user?: User;
  /** How long an operation is retried before it fails (P25). */
  readonly ioTimeoutMs?: number;
  readonly connectTimeoutMs?: number;
}

/** As fs.open's: read; write from empty; read and write an existing file; read and write from empty; write a new file only. */
export type OpenMode = 'r' | 'w' | 'r+' | 'w+' | 'wx';

const { O_CREAT, O_EXCL, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } = constants;
const flagsOf: Readonly<Record<OpenMode, number>> = {
  r: O_RDONLY,
  w: O_WRONLY | O_CREAT | O_TRUNC,
  'r+': O_RDWR,
  'w+': O_RDWR | O_CREAT | O_TRUNC,
  wx: O_WRONLY | O_CREAT | O_EXCL,
};

/** Entries asked for at once. */
const listPage = 1000;

export class FileSystem {
  readonly #names: Names;
  readonly #steps: PathSteps;

  /** Waits until the cluster answers; UNREACHABLE with the reason. */
  static async connect(options: FileSystemOptions): Promise<FileSystem> {
    const { user, ...rest } = options;
    const client = await Client.connect({ host: hostname(), ...rest });
    return new FileSystem(new Names(client, user ?? ourselves()));
  }

  private constructor(names: Names) {
    this.#names = names;
    this.#steps = {
      root: names.client.root,
      lookup: (parent, name) => names.lookup(parent, name),
      stat: (inode) => names.stat(inode),
      readLink: (inode) => names.readLink(inode),
    };
  }

  /** Files that are still open are reported as they are. */
  stop(): Promise<void> {
    return this.#names.client.stop();
  }

  async open(path: string, mode: OpenMode = 'r', permissions = 0o666): Promise<FileHandle> {
    return about(path, async () => {
      const flags = flagsOf[mode];
      const { client, user } = this.#names;
      const stat = async (inode: bigint): Promise<FileStats> => statsOf(await this.#names.stat(inode));
      if ((flags & O_CREAT) === 0) {
        const { id } = await resolvePath(this.#steps, path);
        return new FileHandle(await client.open(id, flags, user), stat);
      }
      const exclusive = (flags & O_EXCL) !== 0;
      const place = await (exclusive ? resolveParent : resolveLastLinks)(this.#steps, path);
      const allowed = permissions & ~process.umask();
      return new FileHandle(
        await client.create(place.parent, Buffer.from(place.name), allowed, flags, user),
        stat,
      );
    });
  }

  /** The whole file in memory; for large ones use `open` and `read`. */
  async readFile(path: string): Promise<Buffer> {
    return about(path, async () => {
      const file = await this.open(path);
      try {
        const { size } = await file.stat();
        if (size > BigInt(Number.MAX_SAFE_INTEGER)) throw new FsError('FILE_TOO_LARGE', path);
        return await file.read(0, Number(size));
      } finally {
        await file.close();
      }
    });
  }

  /** Replaces the content. `durable`: on the medium of every copy when it is answered. */
  async writeFile(
    path: string,
    data: Uint8Array | string,
    options: { mode?: OpenMode; permissions?: number; durable?: boolean } = {},
  ): Promise<void> {
    const file = await this.open(path, options.mode ?? 'w', options.permissions);
    try {
      await writeWhole(file, typeof data === 'string' ? Buffer.from(data) : data);
      if (options.durable === true) await file.fsync();
    } finally {
      await file.close();
    }
  }

  async stat(path: string): Promise<FileStats> {
    return about(path, async () => {
      return statsOf(await resolvePath(this.#steps, path));
    });
  }

  /** Of a link itself. */
  async statLink(path: string): Promise<FileStats> {
    return about(path, async () => {
      return statsOf(await resolvePath(this.#steps, path, false));
    });
  }

  async exists(path: string): Promise<boolean> {
    try {
      await resolvePath(this.#steps, path);
      return true;
    } catch (error) {
      if (error instanceof FsError && (error.code === 'NOT_FOUND' || error.code === 'NOT_DIRECTORY'))
        return false;
      throw error;
    }
  }

  /** Entries one by one, in no order, without `.` and `..`; memory stays bounded however many there are. */
  async *entries(path: string): AsyncGenerator<DirectoryEntry> {
    const { id } = await about(path, () => resolvePath(this.#steps, path));
    yield* this.#entriesOf(id);
  }

  /** All entries, sorted by name. */
  async list(path: string): Promise<DirectoryEntry[]> {
    const entries: DirectoryEntry[] = [];
    await about(path, async () => {
      for await (const entry of this.entries(path)) entries.push(entry);
    });
    return entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** `recursive`: with missing parents; an existing directory is fine then. */
  async makeDirectory(
    path: string,
    options: { recursive?: boolean; permissions?: number } = {},
  ): Promise<void> {
    const mode = (options.permissions ?? 0o777) & ~process.umask();
    if (options.recursive !== true) {
      await about(path, async () => {
        const { parent, name } = await resolveParent(this.#steps, path);
        await this.#names.makeDirectory(parent, name, mode);
      });
      return;
    }
    let made = '';
    for (const part of path.split('/').filter((name) => name !== '')) {
      made = `${made}/${part}`;
      await this.makeDirectory(made, { permissions: mode }).catch(async (error: unknown) => {
        const exists = error instanceof FsError && ['EXISTS', 'INVALID_ARGUMENT'].includes(error.code);
        if (!exists || (await this.stat(made)).kind !== 'directory') throw error;
      });
    }
  }

  /** Replaces what has the new name, as rename(2). */
  async rename(from: string, to: string): Promise<void> {
    return about(`${from} to ${to}`, async () => {
      const source = await resolveParent(this.#steps, from);
      await this.#names.rename(source, await resolveParent(this.#steps, to));
    });
  }

  async symlink(target: string, path: string): Promise<void> {
    return about(path, async () => {
      const { parent, name } = await resolveParent(this.#steps, path);
      await this.#names.symlink(parent, name, target);
    });
  }

  async readLink(path: string): Promise<string> {
    return about(path, async () => {
      return this.#names.readLink((await resolvePath(this.#steps, path, false)).id);
    });
  }

  /** Shorter, or longer with zeros. */
  async truncate(path: string, length: number | bigint): Promise<void> {
    return about(path, async () => {
      const { id } = await resolvePath(this.#steps, path);
      await this.#names.setAttributes({ inode: id, length: BigInt(length) });
    });
  }

  async setPermissions(path: string, mode: number): Promise<void> {
    return about(path, async () => {
      const { id } = await resolvePath(this.#steps, path);
      await this.#names.setAttributes({ inode: id, mode: mode & 0o7777 });
    });
  }

  /** A file, a link, or an empty directory; `recursive`: with everything below; `force`: nothing there is fine. */
  async remove(path: string, options: { recursive?: boolean; force?: boolean } = {}): Promise<void> {
    return about(path, async () => {
      try {
        const { parent, name } = await resolveParent(this.#steps, path);
        const inode = await this.#names.lookup(parent, name);
        await this.#remove(parent, name, inode, options.recursive === true);
      } catch (error) {
        if (options.force !== true || !(error instanceof FsError) || error.code !== 'NOT_FOUND') throw error;
      }
    });
  }

  /** Which storage nodes serve each part of a file, so that work can go to its data. */
  async locate(path: string, offset = 0n, length?: bigint): Promise<Place[]> {
    return about(path, async () => {
      const inode = await resolvePath(this.#steps, path);
      if (inode.layout === undefined || inode.type !== message.FileType.FILE_REGULAR)
        throw new FsError('INVALID_ARGUMENT', `${path} is no file`);
      const rest = inode.length > offset ? inode.length - offset : 0n;
      const wanted = length === undefined || length > rest ? rest : length;
      return this.#names.client.locate(inode.layout, offset, wanted);
    });
  }

  /** A local file into the file system; at most 8 MiB in memory. Returns its length. */
  async copyIn(localPath: string, path: string, options: { durable?: boolean } = {}): Promise<number> {
    const file = await this.open(path, 'w');
    try {
      const length = await copyIn(localPath, file);
      if (options.durable === true) await file.fsync();
      return length;
    } finally {
      await file.close();
    }
  }

  /** A file to a local one; at most 8 MiB in memory. Returns its length. */
  async copyOut(path: string, localPath: string): Promise<number> {
    const file = await this.open(path, 'r');
    try {
      return await copyOut(file, localPath);
    } finally {
      await file.close();
    }
  }

  async statFileSystem(): Promise<FileSystemStats> {
    const { capacityBytes, usedBytes, files } = await this.#names.statFileSystem();
    return { capacityBytes, usedBytes, files };
  }

  /** Every name answered so far is on the medium. */
  sync(): Promise<void> {
    return this.#names.sync();
  }

  async *#entriesOf(inode: bigint): AsyncGenerator<DirectoryEntry> {
    let offset = 0n;
    for (;;) {
      const page: message.ReadDirectoryReply = await this.#names.readDirectory(inode, offset, listPage);
      for (const entry of page.entries) {
        offset = entry.offset;
        const name = Buffer.from(entry.name).toString();
        if (name === '.' || name === '..') continue;
        const stats = entry.attributes === undefined ? undefined : statsOf(entry.attributes);
        yield { name, inode: entry.inode, kind: kindOf(entry.type), stats };
      }
      if (page.end || page.entries.length === 0) return;
    }
  }

  async #remove(parent: bigint, name: string, inode: message.Inode, recursive: boolean): Promise<void> {
    if (kindOf(inode.type) !== 'directory') return this.#names.unlink(parent, name);
    if (recursive) {
      for await (const entry of this.#entriesOf(inode.id)) {
        const child = await this.#names.lookup(inode.id, entry.name);
        await this.#remove(inode.id, entry.name, child, true);
      }
    }
    return this.#names.removeDirectory(parent, name);
  }
}

function ourselves(): User {
  return {
    uid: process.getuid?.() ?? 0,
    gid: process.getgid?.() ?? 0,
    groups: process.getgroups?.() ?? [],
  };
}
