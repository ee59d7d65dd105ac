// Random rows of operations against a plain tree, with the service killed in between, its log cut at any byte
// that was not acknowledged, and requests repeated under their numbers.
import { mkdtempSync, readdirSync, rmSync, statSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FsError, type KeyValueStore, message, openLmdbStore, openLocalLog } from '@catena/core';
import fc from 'fast-check';
import { afterEach, expect, test } from 'vitest';
import type { PartitionOptions } from '../owner/partition.ts';
import { type Body, name, type OperationName, settle, TestClient, TestService } from '../testing/service.ts';
import { drawn, type Outcome, type Step, TreeModel } from '../testing/tree-model.ts';

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});
function makeFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'catena-meta-test-'));
  folders.push(folder);
  return folder;
}

const { FILE_DIRECTORY, FILE_SYMLINK } = message.FileType;
const names = ['a', 'b', 'c', 'd'];
const aName = fc.constantFrom(...names);
const pick = fc.nat(11);

/** A step whose nodes are picks among those that exist when it runs. */
type Draft = Step & { readonly drafted?: never };
const draft: fc.Arbitrary<Draft> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      act: fc.constantFrom('mkdir', 'create', 'createExclusive', 'unlink', 'rmdir'),
      parent: pick,
      name: aName,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      act: fc.constant('symlink'),
      parent: pick,
      name: aName,
      target: fc.constantFrom('x', 'long/target'),
    }),
  },
  { weight: 2, arbitrary: fc.record({ act: fc.constant('link'), inode: pick, parent: pick, name: aName }) },
  {
    weight: 1,
    arbitrary: fc.record({
      act: fc.constant('truncate'),
      inode: pick,
      length: fc.constantFrom(0, 1, 5_000_000),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      act: fc.constant('rename'),
      parent: pick,
      name: aName,
      target: pick,
      targetName: aName,
      flags: fc.constantFrom(0, 0, 1, 2),
    }),
  },
) as fc.Arbitrary<Draft>;

/**
 * What happens: a step that is awaited; steps that are not, and then a crash; time for the store; an orderly
 * restart.
 */
type Event =
  | { readonly what: 'step'; readonly step: Draft }
  | { readonly what: 'crash'; readonly steps: readonly Draft[]; readonly turns: number; readonly cut: number }
  | { readonly what: 'pass' }
  | { readonly what: 'restart' };
const event: fc.Arbitrary<Event> = fc.oneof(
  { weight: 12, arbitrary: fc.record({ what: fc.constant('step'), step: draft }) },
  {
    weight: 2,
    arbitrary: fc.record({
      what: fc.constant('crash'),
      steps: fc.array(draft, { maxLength: 4 }),
      turns: fc.nat(3),
      cut: fc.nat(1000),
    }),
  },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('pass') }) },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('restart') }) },
) as fc.Arbitrary<Event>;

const directoriesOf = (model: TreeModel) => model.nodes().filter((node) => node.type === 'directory');

function settled(model: TreeModel, step: Draft): Step {
  // Mostly directories where a directory is wanted; now and then something else.
  const directory = (choice: number): number => {
    const pool = choice === 11 ? model.nodes() : directoriesOf(model);
    return pool[choice % pool.length]!.number;
  };
  const any = (choice: number): number => model.nodes()[choice % model.nodes().length]!.number;
  if (step.act === 'rename')
    return { ...step, parent: directory(step.parent), target: directory(step.target) };
  if (step.act === 'link') return { ...step, inode: any(step.inode), parent: directory(step.parent) };
  if (step.act === 'truncate') return { ...step, inode: any(step.inode) };
  return { ...step, parent: directory(step.parent) };
}

interface Sent {
  readonly step: Step;
  readonly operation: OperationName;
  readonly body: Body<OperationName>;
  readonly sequence: bigint;
}

class Run {
  readonly service: TestService;
  model = new TreeModel();
  client: TestClient;
  /** Where the log lies, if in a file. */
  readonly #logFolder: string | undefined;
  /** Inode ids of the nodes of the model, by their numbers. */
  #ids = new Map<number, bigint>([[0, 1n]]);

  constructor(service: TestService, logFolder?: string) {
    this.service = service;
    this.client = new TestClient(service);
    this.#logFolder = logFolder;
  }

  #sent(step: Step): Sent {
    const id = (number: number): bigint => this.#ids.get(number)!;
    const sequence = this.client.nextSequence();
    const at = (parent: number, text: string) => ({ parent: id(parent), name: name(text) });
    switch (step.act) {
      case 'mkdir':
        return {
          step,
          sequence,
          operation: 'makeDirectory',
          body: { ...at(step.parent, step.name), mode: 0o755 },
        };
      case 'create':
        return {
          step,
          sequence,
          operation: 'create',
          body: { ...at(step.parent, step.name), mode: 0o644, flags: 2 },
        };
      case 'createExclusive':
        return {
          step,
          sequence,
          operation: 'create',
          body: { ...at(step.parent, step.name), mode: 0o644, flags: 0o202 },
        };
      case 'unlink':
        return { step, sequence, operation: 'unlink', body: at(step.parent, step.name) };
      case 'rmdir':
        return { step, sequence, operation: 'removeDirectory', body: at(step.parent, step.name) };
      case 'symlink':
        return {
          step,
          sequence,
          operation: 'symlink',
          body: { ...at(step.parent, step.name), target: name(step.target) },
        };
      case 'link':
        return {
          step,
          sequence,
          operation: 'link',
          body: { ...at(step.parent, step.name), inode: id(step.inode) },
        };
      case 'truncate':
        return {
          step,
          sequence,
          operation: 'setAttributes',
          body: { inode: id(step.inode), length: BigInt(step.length) },
        };
      case 'rename':
        return {
          step,
          sequence,
          operation: 'rename',
          body: {
            sourceParent: id(step.parent),
            sourceName: name(step.name),
            targetParent: id(step.target),
            targetName: name(step.targetName),
            flags: step.flags,
          },
        };
    }
  }

  /** Sends it; closes at once what it opened, so that nothing outlives its name. */
  async #send({ operation, body, sequence }: Sent): Promise<Outcome> {
    try {
      const reply = await this.client.call(operation, body, { sequence });
      if ('session' in reply) {
        await this.client.call('close', { inode: reply.inode!.id, session: reply.session });
      }
      return 'OK';
    } catch (error) {
      if (error instanceof FsError) return error.code;
      throw error;
    }
  }

  async step(drafted: Draft): Promise<void> {
    const step = settled(this.model, drafted);
    const sent = this.#sent(step);
    const outcome = await this.#send(sent);
    expect([step, outcome]).toEqual([step, this.model.apply(step)]);
    await this.compare();
  }

  /**
   * Sends steps without looking at their answers, kills the service, cuts the log somewhere behind what was
   * acknowledged. What is left must be the acknowledged and a prefix of the others; repeated under their numbers,
   * all are done exactly once.
   */
  async crash(drafts: readonly Draft[], turns: number, cut: number): Promise<void> {
    const sizeBefore = this.#logBytes();
    const steps: Step[] = [];
    const outcomes: Outcome[] = [];
    const models: TreeModel[] = [this.model];
    for (const drafted of drafts) {
      const next = models.at(-1)!.clone();
      // Only nodes that existed before can be named: of new ones nobody knows the id yet.
      const step = settled(this.model, drafted);
      steps.push(step);
      outcomes.push(next.apply(step));
      models.push(next);
    }
    const sent = steps.map((step) => this.#sent(step));
    this.client.unconfirmedFrom = sent[0]?.sequence;
    for (const each of sent)
      void this.client.call(each.operation, each.body, { sequence: each.sequence }).catch(() => {});
    for (let turn = 0; turn < turns; turn++) await settle(1);
    await this.#kill(sizeBefore, cut);
    await this.client.hello();
    const left = await this.#draw();
    const possible = models.flatMap((_model, prefix) =>
      same(drawn(models[prefix]!), left.lines) ? [repeated(models, steps, outcomes, prefix)] : [],
    );
    expect(possible, `no prefix explains\n${left.lines.join('\n')}`).not.toEqual([]);
    const again: Outcome[] = [];
    for (const each of sent) again.push(await this.#send(each));
    const fitting = possible.find((candidate) => candidate.outcomes.join() === again.join());
    expect(fitting?.outcomes ?? possible.map((candidate) => candidate.outcomes)).toEqual(again);
    this.model = fitting!.model;
    this.client.unconfirmedFrom = undefined;
    await this.compare();
  }

  async restart(): Promise<void> {
    await this.service.close();
    await this.service.open();
    await this.client.hello();
    await this.compare();
  }

  async compare(): Promise<void> {
    const { lines, ids } = await this.#draw();
    expect(lines).toEqual(drawn(this.model));
    this.#ids = ids;
  }

  #logBytes(): number {
    const file = this.#logFile();
    return file === undefined ? 0 : statSync(file).size;
  }
  #logFile(): string | undefined {
    if (this.#logFolder === undefined) return undefined;
    const files = readdirSync(this.#logFolder)
      .filter((file) => file.endsWith('.seg'))
      .sort();
    return join(this.#logFolder, files.at(-1)!);
  }

  async #kill(sizeBefore: number, cut: number): Promise<void> {
    const { log } = this.service.partition;
    this.service.kill();
    const file = this.#logFile();
    if (file !== undefined) {
      await log.close();
      const size = statSync(file).size;
      if (size > sizeBefore) truncateSync(file, sizeBefore + (cut % (size - sizeBefore + 1)));
    }
    await this.service.open();
  }

  /** The service's tree as the model draws it: nodes are matched by their place. */
  async #draw(): Promise<{ lines: string[]; ids: Map<number, bigint> }> {
    const real = new TreeModel();
    const byId = new Map<bigint, { number: number; inode: message.Inode }>();
    const placesOfModel = new Map<string, number>();
    const walkModel = (node: TreeModel['root'], path: string): void => {
      placesOfModel.set(path, node.number);
      for (const [text, child] of node.children) walkModel(child, `${path}/${text}`);
    };
    walkModel(this.model.root, '');
    const ids = new Map<number, bigint>([[0, 1n]]);
    const lines: string[] = [];
    const walk = async (id: bigint, path: string): Promise<void> => {
      const { entries } = await this.client.call('readDirectory', { inode: id, plus: true });
      for (const entry of entries) {
        const place = `${path}/${entry.name.toString()}`;
        const inode = entry.attributes!;
        expect(inode.id).toBe(entry.inode);
        const known = byId.get(inode.id);
        const number = known?.number ?? placesOfModel.get(place) ?? -1;
        if (known === undefined) byId.set(inode.id, { number, inode });
        ids.set(number, inode.id);
        const kind =
          inode.type === FILE_DIRECTORY ? 'directory' : inode.type === FILE_SYMLINK ? 'symlink' : 'file';
        const inside =
          kind === 'directory'
            ? ` holds ${inode.entries}`
            : ` of ${inode.length} ${inode.symlink.toString()}`;
        lines.push(`${place} ${kind} #${number} links ${inode.nlink}${inside}`);
        if (kind === 'directory') {
          expect(inode.parent).toBe(id);
          await walk(inode.id, place);
        }
      }
    };
    await walk(1n, '');
    expect(real.root.number).toBe(0);
    return { lines: lines.sort(), ids };
  }
}

/**
 * What repeating all steps gives if the first `prefix` of them survived: those that changed something get their
 * answer, the others (refused, or lost) are executed, on what the later ones have left.
 */
function repeated(
  models: readonly TreeModel[],
  steps: readonly Step[],
  outcomes: readonly Outcome[],
  prefix: number,
): { outcomes: Outcome[]; model: TreeModel } {
  const model = models[prefix]!.clone();
  const again = steps.map((step, index) => {
    const changed = outcomes[index] === 'OK' && !isIdle(step, models[index]!, models[index + 1]!);
    return index < prefix && changed ? 'OK' : model.apply(step);
  });
  return { outcomes: again, model };
}

/** A rename between two names of one file changes nothing, so nothing of it is kept. */
function isIdle(step: Step, before: TreeModel, after: TreeModel): boolean {
  return step.act === 'rename' && drawn(before).join() === drawn(after).join();
}

function same(a: readonly string[], b: readonly string[]): boolean {
  const plain = (line: string): string => line.replace(/ #-?\d+/, '');
  return a.length === b.length && a.every((line, index) => plain(line) === plain(b[index]!));
}

async function live(run: Run, events: readonly Event[]): Promise<void> {
  await run.service.open();
  await run.client.hello();
  for (const each of events) {
    if (each.what === 'step') await run.step(each.step);
    else if (each.what === 'crash') await run.crash(each.steps, each.turns, each.cut);
    else if (each.what === 'pass') await run.service.pass(100);
    else await run.restart();
  }
  // Everything is released in the end, and the counters agree.
  const { files } = await run.client.call('statFileSystem', {});
  expect(files).toBe(BigInt(run.model.nodes().length));
  expect(run.service.partition.owner.state.openFiles.size).toBe(0);
  await run.service.close();
}

/** Every name in one place of the order: slots and tombstones are in use all the time. */
const colliding: Partial<PartitionOptions> = { nameOffset: (bytes) => (BigInt(bytes[0]! % 2) + 1n) << 7n };

for (const [title, options] of [
  ['with names in their order', {}],
  ['with names whose hashes collide', colliding],
] as const) {
  test(`the namespace is that of a plain tree, ${title}`, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(event, { maxLength: 40 }), (events) =>
        live(new Run(new TestService(options)), events),
      ),
      { numRuns: 120 },
    );
  });
}

test('so it is on the local log, cut at any byte behind what was acknowledged', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(event, { maxLength: 25 }), async (events) => {
      const directory = makeFolder();
      const service: TestService = new TestService({
        openLog: (floor) => openLocalLog({ directory, clock: service.clock, floor, segmentBytes: 4096 }),
      });
      await live(new Run(service, directory), events);
    }),
    { numRuns: 60 },
  );
});

test('so it is on LMDB and the local log', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(event, { minLength: 5, maxLength: 25 }), async (events) => {
      const directory = makeFolder();
      const openStore = (): Promise<KeyValueStore> => openLmdbStore(join(directory, 'store'));
      const log = join(directory, 'log');
      const service: TestService = new TestService({
        openStore,
        openLog: (floor) => openLocalLog({ directory: log, clock: service.clock, floor, segmentBytes: 4096 }),
      });
      await live(new Run(service, log), events);
    }),
    { numRuns: 8 },
  );
});
