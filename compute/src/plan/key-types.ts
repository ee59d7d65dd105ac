// The types that hash keys are cast to before they are hashed. Inputs that meet in one query must divide
// equal keys alike, so their exchanges form one class, and each key of the class is hashed as the type that
// DuckDB would compare it in.
import { FsError } from '@catena/core';
import type { EngineConnection } from '../engine/database.ts';
import { chosenColumns, type Schemas, schemaOf } from '../optimize/schemas.ts';
import { inOrder, type Node, type RepartitionNode } from './nodes.ts';

/** By the id of the repartition. */
export type KeyTypes = ReadonlyMap<number, readonly string[]>;

/** The repartitions that decide which rows are in which partition of a node. */
function dividers(node: Node): RepartitionNode[] {
  if (node.kind === 'repartition') return [node];
  if (node.kind === 'filter') return dividers(node.input);
  if (node.kind === 'sql') return node.inputs.flatMap(dividers);
  return [];
}

export async function findKeyTypes(
  connection: EngineConnection,
  root: Node,
  schemas: Schemas,
): Promise<KeyTypes> {
  const leader = new Map<RepartitionNode, RepartitionNode>();
  const find = (node: RepartitionNode): RepartitionNode => {
    const next = leader.get(node) ?? node;
    return next === node ? node : find(next);
  };
  const hashed: RepartitionNode[] = [];
  for (const node of inOrder(root)) {
    if (node.kind === 'repartition' && node.division.by === 'hash') hashed.push(node);
    if (node.kind !== 'sql') continue;
    const meeting = dividers(node).filter((divider) => divider.partitions > 1);
    checkMeeting(meeting, node.query);
    for (const divider of meeting) {
      const [first] = meeting;
      if (first !== undefined) leader.set(find(divider), find(first));
    }
  }
  const types = new Map<number, readonly string[]>();
  for (const node of hashed) {
    const members = hashed.filter((other) => find(other) === find(node));
    types.set(node.id, await commonTypes(connection, members, schemas));
  }
  return types;
}

function keysOf(node: RepartitionNode): readonly string[] {
  return node.division.by === 'hash' ? node.division.keys : [];
}

function checkMeeting(meeting: readonly RepartitionNode[], query: string): void {
  const hashed = meeting.filter((node) => node.division.by === 'hash');
  if (hashed.length === 0) return;
  const where = `partialSql "${query.trim().slice(0, 80)}"`;
  if (hashed.length < meeting.length) {
    const detail =
      'one input is divided by hash and another is not, so their partitions do not belong together';
    throw new FsError(
      'BAD_QUERY',
      `${where}: ${detail}; repartition both by hash, or one of them to 1 partition`,
    );
  }
  const [first] = hashed;
  const other = hashed.find((node) => keysOf(node).length !== keysOf(first!).length);
  if (other !== undefined) {
    const detail = `inputs are divided by (${keysOf(first!)}) and by (${keysOf(other)})`;
    throw new FsError('BAD_QUERY', `${where}: ${detail}; divide them by the same number of keys`);
  }
}

async function commonTypes(
  connection: EngineConnection,
  members: readonly RepartitionNode[],
  schemas: Schemas,
): Promise<string[]> {
  const keyCount = keysOf(members[0]!).length;
  const common: string[] = [];
  for (let index = 0; index < keyCount; index++) {
    const columns = members.map(
      (member) => chosenColumns(schemaOf(schemas, member), [keysOf(member)[index]!], 'repartition')[0]!,
    );
    const types = [...new Set(columns.map((column) => column.type))];
    common.push(await commonType(connection, types, columns.map((column) => column.name).join(' and ')));
  }
  return common;
}

async function commonType(
  connection: EngineConnection,
  types: readonly string[],
  keys: string,
): Promise<string> {
  let common = types[0]!;
  for (const type of types.slice(1)) {
    const query = `SELECT CASE WHEN true THEN CAST(NULL AS ${common}) ELSE CAST(NULL AS ${type}) END AS k`;
    const found = await connection.columns(query, 'comparing hash keys').catch(() => undefined);
    if (found === undefined) {
      const detail = `hash keys ${keys} have types that cannot be compared: ${types.join(', ')}`;
      throw new FsError('BAD_QUERY', `${detail}; cast one of them before the repartition`);
    }
    common = found[0]!.type;
  }
  return common;
}
