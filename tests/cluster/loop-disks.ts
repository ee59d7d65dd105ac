// Small real disks: ext4 in sparse files, mounted where a cluster's storage servers keep their data.
import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, ftruncateSync, mkdirSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Room for the reserves of all targets of a server, and some data; the backing file stays sparse. */
const imageBytes = 2 * 1024 ** 3;

/** EXT4_IOC_SHUTDOWN: from then on every operation of the file system fails with EIO, as on a dead disk. */
const shutdownScript = 'open $f, "<", shift or die $!; ioctl($f, 0x8004587D, pack("L", 0)) or die $!';

export class LoopDisk {
  readonly path: string;
  readonly #image: string;
  readonly #filler: string;

  /** Makes and mounts the disk of a node of the cluster in that folder, before the cluster is started. */
  constructor(clusterDirectory: string, node: number) {
    this.path = join(clusterDirectory, `storage-${node}`, 'disk-0');
    this.#image = join(dirname(clusterDirectory), `disk-${node}.ext4`);
    this.#filler = join(this.path, 'filler');
    mkdirSync(this.path, { recursive: true });
    // While nothing is mounted here, a server that is restarted must not begin a new disk below.
    writeFileSync(join(this.path, 'identity'), 'no disk is mounted');
    const fd = openSync(this.#image, 'w');
    ftruncateSync(fd, imageBytes);
    closeSync(fd);
    execFileSync('mkfs.ext4', ['-q', '-F', '-m', '0', this.#image]);
    this.mount();
  }

  mount(): void {
    execFileSync('mount', ['-o', 'loop', this.#image, this.path]);
  }

  /** The loop device goes with it. A server that is just being restarted may look at it for a moment. */
  unmount(): void {
    for (let attempt = 0; spawnSync('umount', [this.path]).status === 32 && attempt < 100; attempt++) {
      spawnSync('sleep', ['0.1']);
    }
  }

  /** Takes everything that is free, to the last block. */
  fill(): void {
    const fd = openSync(this.#filler, 'w');
    closeSync(fd);
    // Whole megabytes first, then smaller and smaller pieces.
    const fill =
      'open $f, ">>", shift; $at = 0; for $size (1 << 26, 1 << 20, 1 << 16, 4096) { ' +
      'while (syscall(285, fileno $f, 0, $at, $size) == 0) { $at += $size } }';
    execFileSync('perl', ['-e', fill, this.#filler]);
  }

  empty(): void {
    rmSync(this.#filler, { force: true });
  }

  /** From now on it fails, until it is unmounted. */
  die(): void {
    execFileSync('perl', ['-e', shutdownScript, this.path]);
  }
}
