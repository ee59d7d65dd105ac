// Rules of the manager that are broken on purpose, so that a comparison can prove that it would notice: each is a
// change of the manager's own source, in a second copy of it that a test imports as `manager.ts?planted=NAME`. The
// plugin of vitest makes these copies; nothing of the product knows of it.
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

export interface Planted {
  readonly file: string;
  /** There once, or the plugin refuses. */
  readonly from: string;
  readonly to: string;
}

export const planted: Readonly<Record<string, Planted>> = {
  /** P1 */
  'suspicion is death': {
    file: 'leases.ts',
    from: 'alive: heard.exited < heard.incarnation && ',
    to: 'alive: heard.suspectedMs === undefined && heard.exited < heard.incarnation && ',
  },
  /** P1: two heartbeats that are missing prove nothing. */
  'silence is death': {
    file: 'leases.ts',
    from: 'nowMs < heard.leaseEndMs,',
    to: 'nowMs < heard.heardMs + this.#leaseMs / 2,',
  },
  /** P1 b */
  'the exit of an older process ends the newer one': {
    file: 'leases.ts',
    from: 'if (byPid ? report.pid !== newest.pid : report.incarnation !== newest.incarnation) return false;',
    to: '',
  },
  /** P1 b */
  'a lease that is given back runs on': {
    file: 'leases.ts',
    from: '    this.#setReports(heard, request.node, [...heard.reports.values(), ...request.targets]);\n    heard.exited = newest.incarnation;\n',
    to: '',
  },
  /** P2 */
  'no margin of a lease': {
    file: 'leases.ts',
    from: 'return leaseMs + leaseMs / 100 + 250;',
    to: 'return leaseMs;',
  },
  /** P3 */
  'a new manager takes silence for death': {
    file: 'leases.ts',
    from: 'return nowMs - this.#startedMs >= leaseWithMarginMs(this.#leaseMs);',
    to: 'return nowMs >= this.#startedMs;',
  },
  /** P3 */
  'a pause of the manager is nothing': {
    file: 'leases.ts',
    from: 'if (nowMs - this.#tickMs > stallMs) {',
    to: 'if (nowMs < this.#tickMs) {',
  },
  /** P3 */
  'told before it is stored': {
    file: 'manager.ts',
    from: 'await this.options.store.save(record);',
    to: 'void this.options.store.save(record);',
  },
  /** R3 */
  'a repeated heartbeat counts': {
    file: 'leases.ts',
    from: 'if (request.sequence <= heard.sequence) return false;',
    to: '',
  },
  /** R3 */
  'a report of an older version of the chain counts': {
    file: 'chain-watch.ts',
    from: 'const facts = leases.facts(nowMs, chain);',
    to: 'const facts = leases.facts(nowMs, chain).map((fact) => ({ ...fact, chainVersion: chain.version }));',
  },
  /** R3 */
  'what the process before reported counts': {
    file: 'leases.ts',
    from: '      this.#setReports(heard, request.node, []);\n',
    to: '',
  },
  /** P3 */
  'a chain that is held keeps its leases': {
    file: 'chain-watch.ts',
    from: 'if (this.#held.size === 0) return [];',
    to: 'if (this.#held.size >= 0) return [];',
  },
  /** P3 */
  'what targets know that are no members counts for nothing': {
    file: 'leases.ts',
    from: 'return [...chain.members, ...others].map(',
    to: 'return chain.members.map(',
  },
  /** P3 */
  'nothing is known that processes registered': {
    file: 'leases.ts',
    from: 'heard.claims = new Map(request.chains.map((chain) => [chain.id, chain]));',
    to: '',
  },
  /** P4 */
  'a fence holds before the head has rolled forward': {
    file: 'fences.ts',
    from: 'if (report === undefined || report.chainVersion !== chain.version) return 0n;',
    to: 'if (report === undefined) return 0n;',
  },
  /** P4 */
  'a chain that nobody serves fences': {
    file: 'fences.ts',
    from: 'if (report === undefined || report.chainVersion !== chain.version) return 0n;',
    to: 'if (report === undefined) continue;\n    if (report.chainVersion !== chain.version) return 0n;',
  },
  /** P4 */
  'a fence holds when one of the chains says so': {
    file: 'fences.ts',
    from: 'report.fencesHeld < held',
    to: 'report.fencesHeld > held',
  },
  /** P4 */
  'a new manager fences who has not spoken to it': {
    file: 'clients.ts',
    from: 'const leaseEndMs = options.nowMs + leaseWithMarginMs(options.leaseMs);',
    to: 'const leaseEndMs = options.nowMs;',
  },
  /** P10 */
  'an outage is over at once': {
    file: 'chain-watch.ts',
    from: 'outageGraceMs: BigInt(outageGraceMs),',
    to: 'outageGraceMs: 0n,',
  },
};

const query = '?planted=';

/** What vite calls a plugin. */
export function plantedCopies(): {
  readonly name: string;
  readonly enforce: 'pre';
  resolveId(source: string, importer: string | undefined): string | undefined;
  load(id: string): string | undefined;
} {
  return {
    name: 'planted-copies',
    enforce: 'pre',
    resolveId(source, importer) {
      if (importer === undefined || !source.startsWith('.')) return undefined;
      const [path, own] = source.split(query);
      const name = own ?? importer.split(query)[1];
      return name === undefined
        ? undefined
        : `${join(dirname(importer.split(query)[0]!), path!)}${query}${name}`;
    },
    load(id) {
      const [path, name] = id.split(query);
      if (path === undefined || name === undefined) return undefined;
      const change = planted[decodeURIComponent(name)];
      if (change === undefined) throw new Error(`nothing is planted as "${name}"`);
      const source = readFileSync(path, 'utf8');
      if (!path.endsWith(`/${change.file}`)) return source;
      if (source.split(change.from).length !== 2)
        throw new Error(`${change.file} has not once: ${change.from}`);
      return source.replace(change.from, () => change.to);
    },
  };
}
