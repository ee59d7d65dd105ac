// The disk of the names themselves is full: nothing new gets a name, everything else goes on (P8).
import { expect, test } from 'vitest';
import { layouts, name, refused, space, TestClient, TestService } from '../testing/service.ts';
import { rootInode } from './inodes.ts';

test('a full disk takes no new names, and every removal and change', async () => {
  let full = false;
  const environment = { layouts: layouts(), space: () => space, isFull: () => full };
  const client = await new TestClient(await new TestService({ environment }).open()).hello();
  const at = (text: string) => ({ parent: rootInode, name: name(text) });
  const makers: [string, (text: string) => Promise<unknown>][] = [
    ['create', (text) => client.call('create', { ...at(text), mode: 0o644, flags: 2 })],
    ['makeDirectory', (text) => client.call('makeDirectory', { ...at(text), mode: 0o755 })],
    ['makeNode', (text) => client.call('makeNode', { ...at(text), mode: 0o644, type: 0 })],
    ['symlink', (text) => client.call('symlink', { ...at(text), target: name('anywhere') })],
    ['link', (text) => client.call('link', { ...at(text), inode: file.inode })],
  ];
  const opened = await client.call('create', { ...at('file'), mode: 0o644, flags: 2 });
  const file = { inode: opened.inode!.id, session: opened.session };
  for (const [kind, make] of makers) await make(`before-${kind}`);

  full = true;
  for (const [kind, make] of makers) expect(await refused(make(`after-${kind}`)), kind).toBe('NO_SPACE');
  expect((await client.call('create', { ...at('file'), mode: 0o644, flags: 2 })).created).toBe(false);
  await client.call('setAttributes', { inode: file.inode, mode: 0o600 });
  await client.call('rename', {
    sourceParent: rootInode,
    sourceName: name('before-create'),
    targetParent: rootInode,
    targetName: name('renamed'),
    flags: 0,
  });
  await client.call('close', file);
  for (const kind of ['makeNode', 'symlink', 'link']) await client.call('unlink', at(`before-${kind}`));
  await client.call('removeDirectory', at('before-makeDirectory'));

  full = false;
  for (const [kind, make] of makers) await make(`after-${kind}`);
});
