// The logical plan: what a DataFrame means, as a tree of immutable nodes. Nothing here reads a file or knows
// a worker.

interface Common {
  /** Unique in the process: two parents of one node share its work. */
  readonly id: number;
}

/** Parquet files; one partition. */
export interface SourceNode extends Common {
  readonly kind: 'source';
  readonly patterns: readonly string[];
  readonly recursive: boolean;
  /** Only these, if given by the caller. */
  readonly columns: readonly string[] | undefined;
}

export type Division =
  | { readonly by: 'files' }
  | { readonly by: 'rows' }
  | { readonly by: 'hash'; readonly keys: readonly string[] }
  | { readonly by: 'column'; readonly expression: string };

export interface RepartitionNode extends Common {
  readonly kind: 'repartition';
  readonly input: Node;
  readonly partitions: number;
  readonly division: Division;
}

/** Keeps rows. `alias` is the name by which the condition may call the input. */
export interface FilterNode extends Common {
  readonly kind: 'filter';
  readonly input: Node;
  readonly condition: string;
  readonly alias: string;
}

/** A query on each partition; `{0}`, `{1}` stand for the inputs. */
export interface SqlNode extends Common {
  readonly kind: 'sql';
  readonly query: string;
  readonly inputs: readonly Node[];
}

/** A whole query, run on one worker over all partitions of its inputs, which it calls by name. */
export interface QueryNode extends Common {
  readonly kind: 'query';
  readonly query: string;
  readonly names: readonly string[];
  readonly inputs: readonly Node[];
}

export type Node = SourceNode | RepartitionNode | FilterNode | SqlNode | QueryNode;
type WithoutId<T> = T extends Node ? Omit<T, 'id'> : never;

let lastId = 0;

export function makeNode<T extends WithoutId<Node>>(node: T): T & Common {
  lastId++;
  return { ...node, id: lastId };
}

export function inputsOf(node: Node): readonly Node[] {
  switch (node.kind) {
    case 'source':
      return [];
    case 'repartition':
    case 'filter':
      return [node.input];
    case 'sql':
    case 'query':
      return node.inputs;
  }
}

/** Every node once, inputs before their consumers. */
export function inOrder(root: Node): Node[] {
  const seen = new Set<number>();
  const nodes: Node[] = [];
  const visit = (node: Node): void => {
    if (seen.has(node.id)) return;
    seen.add(node.id);
    for (const input of inputsOf(node)) visit(input);
    nodes.push(node);
  };
  visit(root);
  return nodes;
}

/** How many nodes read each node; the root is read once, by the caller. */
export function countConsumers(root: Node): Map<number, number> {
  const counts = new Map<number, number>([[root.id, 1]]);
  for (const node of inOrder(root)) {
    for (const input of inputsOf(node)) counts.set(input.id, (counts.get(input.id) ?? 0) + 1);
  }
  return counts;
}
