// Moves conditions below exchanges, so that rows that nobody wants are neither written nor read: a filter
// above a repartition by hash or by column goes below it, and the WHERE of a query over one input is also
// applied before that input's exchange.
import type { EngineConnection } from '../engine/database.ts';
import { asSubquery, fillPlaceholders, quoteName } from '../engine/sql-text.ts';
import { countConsumers, type FilterNode, makeNode, type Node, type RepartitionNode } from '../plan/nodes.ts';
import { walk } from './references.ts';
import { type Schemas, schemaOf } from './schemas.ts';
import { syntaxOf, volatileFunctions, whereText } from './syntax.ts';

interface Condition {
  readonly text: string;
  readonly alias: string;
}

export async function pushFilters(connection: EngineConnection, root: Node, schemas: Schemas): Promise<Node> {
  const pusher = new Pusher(connection, schemas, countConsumers(root), await volatileFunctions(connection));
  return await pusher.rewrite(root);
}

class Pusher {
  readonly #connection: EngineConnection;
  readonly #schemas: Schemas;
  readonly #consumers: ReadonlyMap<number, number>;
  readonly #volatile: ReadonlySet<string>;
  readonly #done = new Map<number, Node>();

  constructor(
    connection: EngineConnection,
    schemas: Schemas,
    consumers: ReadonlyMap<number, number>,
    volatileNames: ReadonlySet<string>,
  ) {
    this.#connection = connection;
    this.#schemas = schemas;
    this.#consumers = consumers;
    this.#volatile = volatileNames;
  }

  async rewrite(node: Node): Promise<Node> {
    const known = this.#done.get(node.id);
    if (known !== undefined) return known;
    const rewritten = await this.#rewriteNode(node);
    this.#schemas.set(rewritten.id, schemaOf(this.#schemas, node));
    this.#done.set(node.id, rewritten);
    return rewritten;
  }

  async #rewriteNode(node: Node): Promise<Node> {
    switch (node.kind) {
      case 'source':
        return node;
      case 'repartition':
        return this.#withInput(node, await this.rewrite(node.input));
      case 'filter':
        return await this.#rewriteFilter(node);
      case 'sql': {
        const [only] = node.inputs;
        if (node.inputs.length === 1 && only !== undefined && this.#isOurExchange(only)) {
          const condition = await this.#whereOf(node.query, only);
          if (condition !== undefined) {
            const input = await this.rewrite(this.#below(only, condition));
            return makeNode({ kind: 'sql', query: node.query, inputs: [input] });
          }
        }
        return makeNode({ kind: 'sql', query: node.query, inputs: await this.#all(node.inputs) });
      }
      case 'query':
        return makeNode({ ...node, inputs: await this.#all(node.inputs) });
    }
  }

  async #all(nodes: readonly Node[]): Promise<Node[]> {
    const rewritten: Node[] = [];
    for (const node of nodes) rewritten.push(await this.rewrite(node));
    return rewritten;
  }

  #withInput(node: RepartitionNode, input: Node): RepartitionNode {
    return makeNode({ kind: 'repartition', input, partitions: node.partitions, division: node.division });
  }

  async #rewriteFilter(node: FilterNode): Promise<Node> {
    const { input } = node;
    if (this.#isOurExchange(input)) {
      const sql = `SELECT * FROM ${quoteName('{0}')} AS ${quoteName(node.alias)} WHERE ${node.condition}`;
      const tree = (await syntaxOf(this.#connection, sql)) as { where_clause?: unknown } | undefined;
      if (this.#mayMove(tree?.where_clause, node.alias, input)) {
        return await this.rewrite(this.#below(input, { text: node.condition, alias: node.alias }));
      }
    }
    const rewritten = await this.rewrite(input);
    return makeNode({ kind: 'filter', input: rewritten, condition: node.condition, alias: node.alias });
  }

  /** An exchange that others read too would have to be made twice. */
  #isOurExchange(node: Node): node is RepartitionNode {
    if (node.kind !== 'repartition' || this.#consumers.get(node.id) !== 1) return false;
    return node.division.by === 'hash' || node.division.by === 'column';
  }

  #below(exchange: RepartitionNode, condition: Condition): RepartitionNode {
    const schema = schemaOf(this.#schemas, exchange);
    const { text, alias } = condition;
    const filter = makeNode({ kind: 'filter', input: exchange.input, condition: text, alias });
    const moved = this.#withInput(exchange, filter);
    this.#schemas.set(filter.id, schema);
    this.#schemas.set(moved.id, schema);
    return moved;
  }

  /** The WHERE clause of a SELECT over nothing but its one input. */
  async #whereOf(query: string, input: Node): Promise<Condition | undefined> {
    const table = '__catena_only_input';
    const text = fillPlaceholders(query, [table]);
    const tree = (await syntaxOf(this.#connection, text)) as Record<string, unknown> | undefined;
    if (tree?.type !== 'SELECT_NODE' || !tree.where_clause) return undefined;
    const from = tree.from_table as Record<string, unknown>;
    if (from.type !== 'BASE_TABLE' || from.table_name !== table || from.sample !== null) return undefined;
    if (Array.isArray(from.column_name_alias) && from.column_name_alias.length > 0) return undefined;
    const alias = from.alias === '' ? table : String(from.alias);
    if (!this.#mayMove(tree.where_clause, alias, input)) return undefined;
    const where = await whereText(this.#connection, text);
    if (where === undefined || !(await this.#binds(where, alias, input))) return undefined;
    return { text: where, alias };
  }

  async #binds(condition: string, alias: string, input: Node): Promise<boolean> {
    const names = schemaOf(this.#schemas, input).map(
      (column) => `CAST(NULL AS ${column.type}) AS ${quoteName(column.name)}`,
    );
    const row = asSubquery(`SELECT ${names.join(', ')}`);
    const select = `SELECT * FROM ${row} AS ${quoteName(alias)} WHERE ${condition}`;
    return await this.#connection.columns(select, 'moving a condition').then(
      () => true,
      () => false,
    );
  }

  /** Only columns of the input, no subquery, and no function whose answer may change between two calls. */
  #mayMove(where: unknown, alias: string, input: Node): boolean {
    if (where === undefined || where === null) return false;
    const columns = new Set(schemaOf(this.#schemas, input).map((column) => column.name.toLowerCase()));
    let may = true;
    walk(where, (node) => {
      const names = node.column_names;
      if (Array.isArray(names)) {
        const [first, second] = names.map((name) => String(name).toLowerCase());
        const own = columns.has(first ?? '') || (first === alias.toLowerCase() && columns.has(second ?? ''));
        if (!own) may = false;
      }
      if (node.class === 'SUBQUERY' || node.class === 'STAR' || node.class === 'WINDOW') may = false;
      if (node.class === 'FUNCTION' && this.#volatile.has(String(node.function_name).toLowerCase()))
        may = false;
    });
    return may;
  }
}
