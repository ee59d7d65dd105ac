// A driver for tests to kill: runs the job of faults.test.ts and prints its workers' process ids first.
import { connect } from '../index.ts';

const [events = '', scratchDirectory = '', jobId = ''] = process.argv.slice(2);
const session = await connect({ slots: 2, scratchDirectory, memoryBytes: 1 << 30, jobId });
const workers = await session.workers();
process.stdout.write(JSON.stringify(workers.map((worker) => worker.pid)));
await session
  .readParquet(events)
  .repartition(6, { byRows: true })
  .partialSql('SELECT key, number FROM {0} WHERE md5(md5(md5(number::VARCHAR || filler))) IS NOT NULL')
  .repartition(4, { hashBy: 'key' })
  .partialSql('SELECT key, count(*) AS n, sum(number) AS total FROM {0} GROUP BY key')
  .takeAll();
await session.close();
