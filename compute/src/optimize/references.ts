// Which columns a query may touch, read from DuckDB's own syntax tree. Errs on the side of more: a name that
// stands anywhere in the query counts for every input, and whatever could mean columns that are not named
// means all of them.

type TreeNode = Readonly<Record<string, unknown>>;

/** Table functions that take a query or a table as text, which the tree does not show. */
const indirect = new Set(['query', 'query_table']);

/**
 * Lower-case names; undefined: all columns. `tables` are the names by which the query can call whole inputs.
 */
export function columnsReferenced(tree: unknown, tables: readonly string[]): ReadonlySet<string> | undefined {
  const tableNames = new Set(tables.map((name) => name.toLowerCase()));
  walk(tree, (node) => {
    if (isTable(node) && typeof node.alias === 'string') tableNames.add(node.alias.toLowerCase());
  });
  const names = new Set<string>();
  let all = false;
  walk(tree, (node) => {
    if (standsForMore(node)) all = true;
    for (const key of ['column_names', 'using_columns']) {
      const listed = node[key];
      if (!Array.isArray(listed)) continue;
      // A table's own name as a column is its whole row.
      if (listed.length === 1 && tableNames.has(String(listed[0]).toLowerCase())) all = true;
      for (const name of listed) names.add(String(name).toLowerCase());
    }
  });
  return all ? undefined : names;
}

function isTable(node: TreeNode): boolean {
  const type = node.type;
  return type === 'BASE_TABLE' || type === 'SUBQUERY' || type === 'TABLE_FUNCTION';
}

function standsForMore(node: TreeNode): boolean {
  const type = node.type;
  if (type === 'STAR' || type === 'PIVOT' || type === 'SHOW_REF' || type === 'POSITIONAL_REFERENCE')
    return true;
  if (type === 'JOIN' && node.ref_type === 'NATURAL') return true;
  if (type === 'TABLE_FUNCTION') {
    const called = node.function as TreeNode | null | undefined;
    return indirect.has(String(called?.function_name).toLowerCase());
  }
  const renamed = node.column_name_alias;
  return isTable(node) && Array.isArray(renamed) && renamed.length > 0;
}

export function walk(value: unknown, visit: (node: TreeNode) => void): void {
  if (typeof value !== 'object' || value === null) return;
  if (Array.isArray(value)) {
    for (const item of value) walk(item, visit);
    return;
  }
  visit(value as TreeNode);
  for (const child of Object.values(value)) walk(child, visit);
}
