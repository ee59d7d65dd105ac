// From paths to inodes: one lookup per component, symbolic links followed here, as a kernel does it for a
// mount. Pure over `PathSteps`; it knows no connection.
import { FsError, message } from '@catena/core';

/** As Linux: a path with more links than this is refused. */
const hopsMax = 40;
/** PATH_MAX without its final zero. */
const pathBytesMax = 4095;

/** What resolving needs to ask. */
export interface PathSteps {
  readonly root: bigint;
  lookup(parent: bigint, name: string): Promise<message.Inode>;
  stat(inode: bigint): Promise<message.Inode>;
  readLink(inode: bigint): Promise<string>;
}

/** A name in a directory, which may not exist yet. */
export interface Place {
  readonly parent: bigint;
  readonly name: string;
}

interface Walk {
  /** From the root to where we are: `..` goes back. */
  readonly above: bigint[];
  readonly rest: string[];
  hops: number;
}

/** The inode that a path names. A link at its end is followed unless `follow` is false. */
export async function resolvePath(steps: PathSteps, path: string, follow = true): Promise<message.Inode> {
  const walk = begin(steps, path);
  let here: message.Inode | undefined;
  while (walk.rest.length > 0) {
    const name = walk.rest.shift()!;
    here = await step(steps, walk, name, follow || walk.rest.length > 0);
  }
  const parent = walk.above.at(-1)!;
  return here ?? steps.stat(parent);
}

/** The directory and the last name of a path: links on the way are followed, the last name is not looked at. */
export async function resolveParent(steps: PathSteps, path: string): Promise<Place> {
  const walk = begin(steps, path);
  const name = walk.rest.pop();
  if (name === undefined || name === '..') {
    throw new FsError('INVALID_ARGUMENT', `${path} does not end in a name`);
  }
  while (walk.rest.length > 0) {
    const inode = await step(steps, walk, walk.rest.shift()!, true);
    if (inode !== undefined && walk.above.at(-1) !== inode.id) {
      throw new FsError('NOT_DIRECTORY', `a part of ${path}`);
    }
  }
  return { parent: walk.above.at(-1)!, name };
}

/** For a link that is to be written through: where it points, as a place. */
export async function resolveLastLinks(steps: PathSteps, path: string): Promise<Place> {
  let place = await resolveParent(steps, path);
  let at = path;
  for (let hops = 0; hops <= hopsMax; hops++) {
    const inode = await steps.lookup(place.parent, place.name).catch(noneIfMissing);
    if (inode === undefined || inode.type !== message.FileType.FILE_SYMLINK) return place;
    const target = await steps.readLink(inode.id);
    at = target.startsWith('/') ? target : `${parentOf(at)}/${target}`;
    place = await resolveParent(steps, at);
  }
  throw new FsError('LOOP', path);
}

function parentOf(path: string): string {
  return path.replace(/\/*[^/]*\/*$/, '');
}

function noneIfMissing(error: unknown): undefined {
  if (error instanceof FsError && error.code === 'NOT_FOUND') return undefined;
  throw error;
}

function begin(steps: PathSteps, path: string): Walk {
  if (!path.startsWith('/')) throw new FsError('INVALID_ARGUMENT', `${path} does not begin with /`);
  if (Buffer.byteLength(path) > pathBytesMax) {
    throw new FsError('NAME_TOO_LONG', `a path of ${Buffer.byteLength(path)} bytes`);
  }
  return { above: [steps.root], rest: parts(path), hops: 0 };
}

function parts(path: string): string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.');
}

/** One component: what it names, or undefined if it is a directory that the walk has entered, or a link put in its place. */
async function step(
  steps: PathSteps,
  walk: Walk,
  name: string,
  follow: boolean,
): Promise<message.Inode | undefined> {
  if (name === '..') {
    if (walk.above.length > 1) walk.above.pop();
    return undefined;
  }
  const inode = await steps.lookup(walk.above.at(-1)!, name);
  if (inode.type === message.FileType.FILE_DIRECTORY) {
    walk.above.push(inode.id);
    return inode;
  }
  if (inode.type !== message.FileType.FILE_SYMLINK || !follow) {
    if (walk.rest.length > 0) throw new FsError('NOT_DIRECTORY', name);
    return inode;
  }
  walk.hops += 1;
  if (walk.hops > hopsMax) throw new FsError('LOOP', name);
  const target = await steps.readLink(inode.id);
  if (target.startsWith('/')) walk.above.length = 1;
  walk.rest.unshift(...parts(target));
  return undefined;
}
