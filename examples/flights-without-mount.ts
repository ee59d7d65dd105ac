// The main job where nothing can be mounted: its input is copied in through the SDK, to scratch for the
// workers, and its result back. `explain` counts the bytes.
import type { FileTransfer } from '@catena/compute';
import { FileSystem } from '@catena/fuse-client/sdk';
import { compareFlights } from './flights.ts';

function transferOf(files: FileSystem): FileTransfer {
  const entryOf = (name: string, stats: { kind: string; size: bigint }) => {
    return { name, isDirectory: stats.kind === 'directory', bytes: Number(stats.size) };
  };
  return {
    name: 'Catena, without a mount',
    stat: async (path) =>
      (await files.exists(path)) ? entryOf(path.split('/').at(-1) ?? '', await files.stat(path)) : undefined,
    list: async (directory) => {
      const entries = await files.list(directory);
      return entries.flatMap(({ name, stats }) => (stats === undefined ? [] : [entryOf(name, stats)]));
    },
    fetch: (path, localPath) => files.copyOut(path, localPath),
    store: (localPath, path) => files.copyIn(localPath, path, { durable: true }),
    makeDirectory: (path) => files.makeDirectory(path, { recursive: true }),
    rename: (from, to) => files.rename(from, to),
    remove: (path) => files.remove(path, { recursive: true, force: true }),
  };
}

const [managers = '127.0.0.1:7400', local = ''] = process.argv.slice(2);
const files = await FileSystem.connect({ managers: managers.split(',') });
try {
  await files.makeDirectory('/flights', { recursive: true });
  await files.copyIn(local, '/flights/flights-3m.parquet');
  const isEqual = await compareFlights('/flights/flights-3m.parquet', { files: transferOf(files) }, local);
  console.log(isEqual ? 'all three results are equal' : 'THE RESULTS DIFFER');
  process.exitCode = isEqual ? 0 : 1;
} finally {
  await files.stop();
}
