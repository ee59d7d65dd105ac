// The optimizer: a list of rules over the logical plan, each safe by itself. It may ask DuckDB about syntax
// and types, and never reads data.
import type { EngineConnection } from '../engine/database.ts';
import type { Node } from '../plan/nodes.ts';
import { type KeptColumns, pruneColumns } from './prune-columns.ts';
import { pushFilters } from './push-filters.ts';
import { describePlan, type Schemas, type Sources } from './schemas.ts';

export interface OptimizedPlan {
  readonly root: Node;
  readonly sources: Sources;
  readonly schemas: Schemas;
  readonly kept: KeptColumns;
}

export async function optimize(
  connection: EngineConnection,
  root: Node,
  sources: Sources,
): Promise<OptimizedPlan> {
  const schemas = await describePlan(connection, root, sources);
  const pushed = await pushFilters(connection, root, schemas);
  const kept = await pruneColumns(connection, pushed, schemas);
  return { root: pushed, sources, schemas, kept };
}
