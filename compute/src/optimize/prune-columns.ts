// Which columns each source reads and each exchange carries: those that something above may touch. Where the
// syntax tree leaves a doubt, and where the query does not bind without the others, all of them.
import type { EngineConnection } from '../engine/database.ts';
import { fillPlaceholders, quoteName } from '../engine/sql-text.ts';
import { inOrder, type Node, type QueryNode, type RepartitionNode, type SqlNode } from '../plan/nodes.ts';
import { columnsReferenced } from './references.ts';
import { emptyOf, type Schemas, schemaOf } from './schemas.ts';
import { syntaxOf } from './syntax.ts';

/** Names as the schema writes them, in its order, by node. */
export type KeptColumns = ReadonlyMap<number, readonly string[]>;

/** Lower-case names; undefined: all. */
type Needed = ReadonlySet<string> | undefined;

export async function pruneColumns(
  connection: EngineConnection,
  root: Node,
  schemas: Schemas,
): Promise<KeptColumns> {
  const needed = new Map<number, Needed>([[root.id, undefined]]);
  const kept = new Map<number, readonly string[]>();
  const need = (node: Node, names: Needed): void => {
    if (!needed.has(node.id)) needed.set(node.id, names);
    else needed.set(node.id, union(needed.get(node.id), names));
  };
  // Consumers before their inputs.
  for (const node of inOrder(root).reverse()) {
    const own = needed.get(node.id);
    kept.set(node.id, keep(schemas, node, own));
    if (node.kind === 'repartition') need(node.input, union(own, await divisionColumns(connection, node)));
    if (node.kind === 'filter') {
      const text = `SELECT 1 FROM t AS ${quoteName(node.alias)} WHERE ${node.condition}`;
      need(
        node.input,
        own === undefined ? undefined : union(own, await columnsOf(connection, text, [node.alias])),
      );
    }
    if (node.kind === 'sql') {
      const names = await queryColumns(connection, node, schemas);
      for (const input of node.inputs) need(input, names);
    }
    if (node.kind === 'query') {
      const names = await columnsOf(connection, node.query, node.names);
      for (const input of node.inputs) need(input, names);
    }
  }
  return kept;
}

function union(left: Needed, right: Needed): Needed {
  return left === undefined || right === undefined ? undefined : new Set([...left, ...right]);
}

/** At least one column, so that rows can be counted. */
function keep(schemas: Schemas, node: Node, needed: Needed): readonly string[] {
  const all = schemaOf(schemas, node).map((column) => column.name);
  if (needed === undefined) return all;
  const chosen = all.filter((name) => needed.has(name.toLowerCase()));
  return chosen.length > 0 ? chosen : all.slice(0, 1);
}

async function divisionColumns(connection: EngineConnection, node: RepartitionNode): Promise<Needed> {
  const { division } = node;
  if (division.by === 'hash') return new Set(division.keys.map((key) => key.toLowerCase()));
  if (division.by === 'column') return await columnsOf(connection, `SELECT ${division.expression}`, []);
  return new Set();
}

async function columnsOf(
  connection: EngineConnection,
  query: string,
  tables: readonly string[],
): Promise<Needed> {
  const tree = await syntaxOf(connection, query);
  return tree === undefined ? undefined : columnsReferenced(tree, tables);
}

/** The tree's answer, proved: the query over the fewer columns must return the same ones. */
async function queryColumns(
  connection: EngineConnection,
  node: SqlNode | QueryNode,
  schemas: Schemas,
): Promise<Needed> {
  const names = node.inputs.map((_input, index) => `{${index}}`);
  const query = fillPlaceholders(node.query, names.map(quoteName));
  const needed = await columnsOf(connection, query, names);
  if (needed === undefined) return undefined;
  for (const [index, input] of node.inputs.entries()) {
    const kept = keep(schemas, input, needed);
    const columns = schemaOf(schemas, input).filter((column) => kept.includes(column.name));
    await connection.run(
      `CREATE OR REPLACE TEMP VIEW ${quoteName(names[index]!)} AS ${emptyOf(columns)}`,
      'planning',
    );
  }
  const describe = (columns: readonly { name: string; type: string }[]): string =>
    columns.map((column) => `${column.name} ${column.type}`).join();
  return await connection.columns(query, 'planning').then(
    (columns) => (describe(columns) === describe(schemaOf(schemas, node)) ? needed : undefined),
    () => undefined,
  );
}
