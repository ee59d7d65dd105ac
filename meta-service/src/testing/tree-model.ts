// The namespace as a plain tree in memory: what a file system of one user root has to look like after a row
// of operations. Written for clearness alone, so that the service can be held against it. Knows names, types,
// links and lengths; no rights, no times.
import type { ErrorCode } from '@catena/core';

export interface Node {
  readonly number: number;
  readonly type: 'directory' | 'file' | 'symlink';
  readonly children: Map<string, Node>;
  length: number;
  target: string;
}

export type Step =
  | {
      readonly act: 'mkdir' | 'create' | 'createExclusive' | 'unlink' | 'rmdir';
      readonly parent: number;
      readonly name: string;
    }
  | { readonly act: 'symlink'; readonly parent: number; readonly name: string; readonly target: string }
  | { readonly act: 'link'; readonly inode: number; readonly parent: number; readonly name: string }
  | { readonly act: 'truncate'; readonly inode: number; readonly length: number }
  | {
      readonly act: 'rename';
      readonly parent: number;
      readonly name: string;
      readonly target: number;
      readonly targetName: string;
      readonly flags: number;
    };

export type Outcome = ErrorCode | 'OK';

/** Nodes carry numbers by the order of their making; the service's inode ids are matched to them from outside. */
export class TreeModel {
  readonly root: Node = { number: 0, type: 'directory', children: new Map(), length: 0, target: '' };
  #made = 0;

  clone(): TreeModel {
    const copy = new TreeModel();
    const seen = new Map<Node, Node>([[this.root, copy.root]]);
    const walk = (from: Node, to: Node): void => {
      for (const [name, child] of from.children) {
        const known = seen.get(child);
        const made = known ?? { ...child, children: new Map() };
        to.children.set(name, made);
        if (known === undefined) {
          seen.set(child, made);
          walk(child, made);
        }
      }
    };
    walk(this.root, copy.root);
    copy.#made = this.#made;
    return copy;
  }

  /** Every node that has a name, in a fixed order. */
  nodes(): Node[] {
    const found = new Set<Node>([this.root]);
    for (const node of found) for (const child of node.children.values()) found.add(child);
    return [...found].sort((a, b) => a.number - b.number);
  }

  links(node: Node): number {
    if (node.type === 'directory') {
      return 2 + [...node.children.values()].filter((child) => child.type === 'directory').length;
    }
    let count = 0;
    for (const other of this.nodes())
      for (const child of other.children.values()) if (child === node) count++;
    return count;
  }

  #node(number: number): Node | undefined {
    return this.nodes().find((node) => node.number === number);
  }

  #make(type: Node['type']): Node {
    return { number: ++this.#made, type, children: new Map(), length: 0, target: '' };
  }

  apply(step: Step): Outcome {
    switch (step.act) {
      case 'truncate':
        return this.#truncate(step.inode, step.length);
      case 'rename':
        return this.#rename(step);
      case 'link':
        return this.#link(step);
      default:
        return this.#named(step);
    }
  }

  #truncate(number: number, length: number): Outcome {
    const node = this.#node(number);
    if (node === undefined) return 'STALE_HANDLE';
    if (node.type === 'directory') return 'IS_DIRECTORY';
    if (node.type === 'symlink') return 'INVALID_ARGUMENT';
    node.length = length;
    return 'OK';
  }

  #link(step: Extract<Step, { act: 'link' }>): Outcome {
    const node = this.#node(step.inode);
    const parent = this.#node(step.parent);
    if (node === undefined || parent === undefined) return 'STALE_HANDLE';
    if (parent.type !== 'directory') return 'NOT_DIRECTORY';
    if (parent.children.has(step.name)) return 'EXISTS';
    if (node.type === 'directory') return 'NOT_PERMITTED';
    parent.children.set(step.name, node);
    return 'OK';
  }

  #named(step: Exclude<Step, { act: 'link' | 'truncate' | 'rename' }>): Outcome {
    const parent = this.#node(step.parent);
    if (parent === undefined) return 'STALE_HANDLE';
    if (parent.type !== 'directory') return 'NOT_DIRECTORY';
    const found = parent.children.get(step.name);
    switch (step.act) {
      case 'unlink':
        if (found === undefined) return 'NOT_FOUND';
        if (found.type === 'directory') return 'IS_DIRECTORY';
        parent.children.delete(step.name);
        return 'OK';
      case 'rmdir':
        if (found === undefined) return 'NOT_FOUND';
        if (found.type !== 'directory') return 'NOT_DIRECTORY';
        if (found.children.size > 0) return 'NOT_EMPTY';
        parent.children.delete(step.name);
        return 'OK';
      case 'create':
        if (found?.type === 'directory') return 'IS_DIRECTORY';
        if (found?.type === 'symlink') return 'LOOP';
        if (found === undefined) parent.children.set(step.name, this.#make('file'));
        return 'OK';
      default: {
        if (found !== undefined) return 'EXISTS';
        const type = step.act === 'mkdir' ? 'directory' : step.act === 'symlink' ? 'symlink' : 'file';
        const made = this.#make(type);
        if (step.act === 'symlink') {
          made.target = step.target;
          made.length = step.target.length;
        }
        parent.children.set(step.name, made);
        return 'OK';
      }
    }
  }

  #rename(step: Extract<Step, { act: 'rename' }>): Outcome {
    const parent = this.#node(step.parent);
    const targetParent = this.#node(step.target);
    if (parent === undefined || targetParent === undefined) return 'STALE_HANDLE';
    if (parent.type !== 'directory' || targetParent.type !== 'directory') return 'NOT_DIRECTORY';
    const source = parent.children.get(step.name);
    const target = targetParent.children.get(step.targetName);
    const exchanges = step.flags === 2;
    if (source === undefined) return 'NOT_FOUND';
    if (step.flags === 1 && target !== undefined) return 'EXISTS';
    if (exchanges && target === undefined) return 'NOT_FOUND';
    if (parent !== targetParent) {
      if (contains(source, targetParent)) return 'INVALID_ARGUMENT';
      if (target !== undefined && contains(target, parent))
        return exchanges ? 'INVALID_ARGUMENT' : 'NOT_EMPTY';
    }
    if (source === target) return 'OK';
    if (target !== undefined && !exchanges) {
      if (source.type === 'directory' && target.type !== 'directory') return 'NOT_DIRECTORY';
      if (source.type !== 'directory' && target.type === 'directory') return 'IS_DIRECTORY';
      if (target.children.size > 0) return 'NOT_EMPTY';
    }
    parent.children.delete(step.name);
    targetParent.children.set(step.targetName, source);
    if (exchanges) parent.children.set(step.name, target!);
    return 'OK';
  }
}

function contains(ancestor: Node, node: Node): boolean {
  if (ancestor === node) return true;
  return [...ancestor.children.values()].some((child) => child.type === 'directory' && contains(child, node));
}

/** The whole tree as text, one line a name: what two trees are compared by. */
export function drawn(model: TreeModel): string[] {
  const lines: string[] = [];
  const walk = (node: Node, path: string): void => {
    for (const [name, child] of node.children) {
      const inside =
        child.type === 'directory' ? ` holds ${child.children.size}` : ` of ${child.length} ${child.target}`;
      lines.push(`${path}/${name} ${child.type} #${child.number} links ${model.links(child)}${inside}`);
      walk(child, `${path}/${name}`);
    }
  };
  walk(model.root, '');
  return lines.sort();
}
