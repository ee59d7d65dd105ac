// Asks DuckDB for the syntax tree of a query, and for the text of a part of it. The tree is only ever looked
// at in JavaScript: parts of it are put together inside of DuckDB, because its numbers do not fit into
// JavaScript's.
import type { EngineConnection } from '../engine/database.ts';
import { quoteText } from '../engine/sql-text.ts';

/** The tree of a single SELECT; undefined if DuckDB cannot show it. */
export async function syntaxOf(connection: EngineConnection, query: string): Promise<unknown> {
  const [row] = await connection.rows(
    `SELECT json_serialize_sql(${quoteText(query)})::VARCHAR AS tree`,
    'reading the syntax of a query',
  );
  const answer = JSON.parse(String(row?.tree)) as { error: boolean; statements?: { node: unknown }[] };
  if (answer.error || answer.statements?.length !== 1) return undefined;
  return answer.statements[0]?.node;
}

const star = JSON.stringify({
  class: 'STAR',
  type: 'STAR',
  alias: '',
  relation_name: '',
  exclude_list: [],
  replace_list: [],
  columns: false,
  expr: null,
});
const beforeTable = [
  '{"error":false,"statements":[{"node":{"type":"SELECT_NODE","modifiers":[],"cte_map":{"map":[]},',
  `"select_list":[${star}],"from_table":`,
].join('');
const afterWhere = [
  ',"group_expressions":[],"group_sets":[],"aggregate_handling":"STANDARD_HANDLING","having":null,',
  '"sample":null,"qualify":null},"named_param_map":[]}]}',
].join('');

/**
 * The WHERE clause of a query over one table, as text with the table's alias in it; undefined if it cannot
 * be had.
 */
export async function whereText(connection: EngineConnection, query: string): Promise<string | undefined> {
  const part = (name: string): string => `json_extract(tree, '$.statements[0].node.${name}')::VARCHAR`;
  const parts = [
    quoteText(beforeTable),
    part('from_table'),
    quoteText(',"where_clause":'),
    part('where_clause'),
    quoteText(afterWhere),
  ];
  const [row] = await connection.rows(
    `SELECT json_deserialize_sql((${parts.join(' || ')})::JSON) AS text
     FROM (SELECT json_serialize_sql(${quoteText(query)}) AS tree)`,
    'writing a condition as text',
  );
  const text = String(row?.text);
  const at = text.indexOf(' WHERE ');
  return at < 0 ? undefined : text.slice(at + ' WHERE '.length);
}

/**
 * Functions whose answer may differ from row to row or call to call: a condition with one stays where it is.
 */
export async function volatileFunctions(connection: EngineConnection): Promise<ReadonlySet<string>> {
  const rows = await connection.rows(
    `SELECT DISTINCT function_name AS name FROM duckdb_functions()
     WHERE stability IS DISTINCT FROM 'CONSISTENT' AND function_type IN ('scalar', 'macro')`,
    'listing functions',
  );
  return new Set(rows.map((row) => String(row.name).toLowerCase()));
}
