// The figures of the service.
import type { Metrics, SpaceReserve } from '@catena/core';
import type { Partition } from '../owner/partition.ts';
import type { ManagerLink } from './manager-link.ts';

export function addMetrics(
  metrics: Metrics,
  partition: Partition,
  link: ManagerLink,
  reserve: SpaceReserve,
): void {
  const { owner, collector, truncator, log } = partition;
  const { state } = owner;
  const counter = (name: string, help: string, read: () => number): void =>
    metrics.observed(name, help, 'counter', read);
  const gauge = (name: string, help: string, read: () => number): void =>
    metrics.observed(name, help, 'gauge', read);
  counter('meta_operations_total', 'Operations executed.', () => owner.executed);
  counter('meta_log_records_total', 'Records appended to the log since it was made.', () =>
    Number(log.appended),
  );
  counter('meta_removed_files_total', 'Files whose chunks were removed.', () => collector.collected);
  gauge('meta_log_unflushed_records', 'Records that a power failure would lose.', () =>
    Number(log.appended - log.flushed),
  );
  gauge('meta_overlay_records', 'Records that the store does not hold yet.', () => state.overlay.size);
  gauge('meta_waiting_requests', 'Requests that wait for the store.', () => owner.waitingCount);
  gauge('meta_parked_requests', 'Requests that wait for a truncation.', () => owner.parkedCount);
  gauge('meta_files', 'Files of every type.', () => Number(state.fileCount));
  gauge('meta_open_files', 'Sessions of open files.', () => state.openFiles.size);
  gauge('meta_clients', 'Clients with a session.', () => owner.clients.size);
  gauge('meta_removals_under_way', 'Files whose chunks are being removed.', () => collector.load);
  gauge('meta_truncations_under_way', 'Files whose chunks are being trimmed.', () => truncator.load);
  gauge('meta_inode_cache', 'Decoded inodes kept.', () => state.inodeCache.size);
  gauge(
    'meta_reserve_bytes',
    'Room kept for a full disk; less than at first: the disk is full.',
    () => reserve.heldBytes,
  );
  gauge('manager_registered', 'Whether the manager knows this service now.', () =>
    link.isRegistered ? 1 : 0,
  );
}
