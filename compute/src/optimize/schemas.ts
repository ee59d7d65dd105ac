// Columns and types of every node of a plan, asked of DuckDB over empty inputs: this finds wrong SQL and
// missing columns before anything runs. Reads footers of source files, no data.
import { FsError } from '@catena/core';
import type { EngineConnection, QueryColumn } from '../engine/database.ts';
import { asSubquery, fillPlaceholders, placeholdersOf, quoteName } from '../engine/sql-text.ts';
import { emptySql } from '../exchange/encoding.ts';
import { inOrder, type Node, type RepartitionNode, type SqlNode } from '../plan/nodes.ts';
import type { ParquetSource } from '../sources/parquet.ts';

export type Schemas = Map<number, readonly QueryColumn[]>;
export type Sources = ReadonlyMap<number, ParquetSource>;

export async function describePlan(
  connection: EngineConnection,
  root: Node,
  sources: Sources,
): Promise<Schemas> {
  const schemas: Schemas = new Map();
  for (const node of inOrder(root))
    schemas.set(node.id, await describeNode(connection, node, schemas, sources));
  return schemas;
}

export function schemaOf(schemas: Schemas, node: Node): readonly QueryColumn[] {
  const schema = schemas.get(node.id);
  if (schema === undefined) throw new Error(`node ${node.id} has not been described`);
  return schema;
}

async function describeNode(
  connection: EngineConnection,
  node: Node,
  schemas: Schemas,
  sources: Sources,
): Promise<readonly QueryColumn[]> {
  switch (node.kind) {
    case 'source':
      return chosenColumns(sources.get(node.id)!.columns, node.columns, node.patterns.join(', '));
    case 'repartition':
      await checkDivision(connection, node, schemaOf(schemas, node.input));
      return schemaOf(schemas, node.input);
    case 'filter': {
      const input = `${asSubquery(emptyOf(schemaOf(schemas, node.input)))} AS ${quoteName(node.alias)}`;
      return await connection.columns(
        `SELECT * FROM ${input} WHERE ${node.condition}\n`,
        `filter "${shorten(node.condition)}"`,
      );
    }
    case 'sql':
      checkPlaceholders(node);
      return await describeSql(connection, node, schemas);
    case 'query': {
      const inputs = node.inputs.map((input) => schemaOf(schemas, input));
      for (const [index, schema] of inputs.entries()) await makeView(connection, node.names[index]!, schema);
      try {
        return await connection.columns(node.query, `query "${shorten(node.query)}"`);
      } finally {
        for (const name of node.names) await connection.run(`DROP VIEW ${quoteName(name)}`, 'planning');
      }
    }
  }
}

async function describeSql(connection: EngineConnection, node: SqlNode, schemas: Schemas) {
  const names = node.inputs.map((_input, index) => `{${index}}`);
  for (const [index, input] of node.inputs.entries()) {
    await makeView(connection, names[index]!, schemaOf(schemas, input));
  }
  return await connection.columns(
    fillPlaceholders(node.query, names.map(quoteName)),
    `partialSql "${shorten(node.query)}"`,
  );
}

async function makeView(
  connection: EngineConnection,
  name: string,
  schema: readonly QueryColumn[],
): Promise<void> {
  await connection.run(`CREATE OR REPLACE TEMP VIEW ${quoteName(name)} AS ${emptyOf(schema)}`, 'planning');
}

export function emptyOf(schema: readonly QueryColumn[]): string {
  return emptySql(schema.map(({ name, type }) => ({ name, type, encoding: 'plain', members: [] })));
}

function checkPlaceholders(node: SqlNode): void {
  const used = placeholdersOf(node.query);
  const missing = used.find((number) => number >= node.inputs.length);
  if (missing !== undefined) {
    const given = `${node.inputs.length} input${node.inputs.length === 1 ? '' : 's'}`;
    throw new FsError('BAD_QUERY', `partialSql "${shorten(node.query)}": {${missing}} but ${given} given`);
  }
  const unused = node.inputs.findIndex((_input, index) => !used.includes(index));
  if (unused >= 0) {
    throw new FsError(
      'BAD_QUERY',
      `partialSql "${shorten(node.query)}": input ${unused} is never used; write {${unused}}`,
    );
  }
}

async function checkDivision(
  connection: EngineConnection,
  node: RepartitionNode,
  schema: readonly QueryColumn[],
) {
  const { division } = node;
  if (division.by === 'hash') chosenColumns(schema, division.keys, 'repartition by hash');
  if (division.by === 'column') {
    const query = `SELECT (${division.expression}\n)::BIGINT FROM ${asSubquery(emptyOf(schema))}`;
    await connection.columns(query, `repartition by "${shorten(division.expression)}"`);
  }
}

/** Columns by name, in their order in the input; SQL's names know no case. */
export function chosenColumns(
  schema: readonly QueryColumn[],
  names: readonly string[] | undefined,
  where: string,
): readonly QueryColumn[] {
  if (names === undefined) return schema;
  return names.map((name) => {
    const found = schema.find((column) => column.name.toLowerCase() === name.toLowerCase());
    if (found !== undefined) return found;
    const known = schema.map((column) => column.name).join(', ');
    throw new FsError('BAD_QUERY', `${where}: no column ${name}; there are ${shorten(known)}`);
  });
}

/** A query in a message stays on its line. */
export function shorten(text: string): string {
  const line = text.trim().replace(/\s+/g, ' ');
  return line.length <= 120 ? line : `${line.slice(0, 117)}...`;
}
