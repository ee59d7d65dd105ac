// The metadata requests of the SDK, one method each, as one user. Paths are resolved above; here are only
// parents and names.
import { message } from '@catena/core';
import type { Client, User } from '@catena/native';

const kind = message.MessageKind;

export class Names {
  readonly client: Client;
  readonly user: User;

  constructor(client: Client, user: User) {
    this.client = client;
    this.user = user;
  }

  async lookup(parent: bigint, name: string): Promise<message.Inode> {
    const request = message.LookupRequest.fromPartial({ parent, name: Buffer.from(name) });
    return this.#inode(kind.KIND_LOOKUP, request, message.LookupRequest);
  }

  async stat(inode: bigint): Promise<message.Inode> {
    return this.#inode(kind.KIND_STAT, message.StatRequest.fromPartial({ inode }), message.StatRequest);
  }

  async makeDirectory(parent: bigint, name: string, mode: number): Promise<message.Inode> {
    const request = message.MakeDirectoryRequest.fromPartial({ parent, name: Buffer.from(name), mode });
    return this.#inode(kind.KIND_MAKE_DIRECTORY, request, message.MakeDirectoryRequest);
  }

  async symlink(parent: bigint, name: string, target: string): Promise<message.Inode> {
    const names = { name: Buffer.from(name), target: Buffer.from(target) };
    const request = message.SymlinkRequest.fromPartial({ parent, ...names });
    return this.#inode(kind.KIND_SYMLINK, request, message.SymlinkRequest);
  }

  async readLink(inode: bigint): Promise<string> {
    const request = message.ReadLinkRequest.fromPartial({ inode });
    const codec = message.ReadLinkRequest;
    const reply = message.ReadLinkReply;
    const { target } = await this.client.ask(kind.KIND_READ_LINK, request, codec, reply, this.user);
    return Buffer.from(target).toString();
  }

  async unlink(parent: bigint, name: string): Promise<void> {
    const request = message.UnlinkRequest.fromPartial({ parent, name: Buffer.from(name) });
    await this.#ask(kind.KIND_UNLINK, request, message.UnlinkRequest);
  }

  async removeDirectory(parent: bigint, name: string): Promise<void> {
    const request = message.RemoveDirectoryRequest.fromPartial({ parent, name: Buffer.from(name) });
    await this.#ask(kind.KIND_REMOVE_DIRECTORY, request, message.RemoveDirectoryRequest);
  }

  async rename(
    source: { parent: bigint; name: string },
    target: { parent: bigint; name: string },
  ): Promise<void> {
    const request = message.RenameRequest.fromPartial({
      sourceParent: source.parent,
      sourceName: Buffer.from(source.name),
      targetParent: target.parent,
      targetName: Buffer.from(target.name),
    });
    await this.#ask(kind.KIND_RENAME, request, message.RenameRequest);
  }

  async setAttributes(changes: Partial<message.SetAttributesRequest>): Promise<message.Inode> {
    const request = message.SetAttributesRequest.fromPartial(changes);
    return this.#inode(kind.KIND_SET_ATTRIBUTES, request, message.SetAttributesRequest);
  }

  async readDirectory(inode: bigint, offset: bigint, limit: number): Promise<message.ReadDirectoryReply> {
    const request = message.ReadDirectoryRequest.fromPartial({ inode, offset, limit, plus: true });
    const reply = message.ReadDirectoryReply;
    const codec = message.ReadDirectoryRequest;
    return this.client.ask(kind.KIND_READ_DIRECTORY, request, codec, reply, this.user);
  }

  async statFileSystem(): Promise<message.StatFileSystemReply> {
    const request = message.StatFileSystemRequest.fromPartial({});
    const codec = message.StatFileSystemRequest;
    const reply = message.StatFileSystemReply;
    return this.client.ask(kind.KIND_STAT_FILE_SYSTEM, request, codec, reply, this.user);
  }

  /** What was answered about names so far is on the medium. */
  async sync(): Promise<void> {
    await this.#ask(kind.KIND_SYNC, message.SyncRequest.fromPartial({}), message.SyncRequest);
  }

  async #inode<Request>(
    which: message.MessageKind,
    request: Request,
    codec: { encode(request: Request): { finish(): Uint8Array } },
  ): Promise<message.Inode> {
    const { inode } = await this.client.ask(which, request, codec, message.InodeReply, this.user);
    return inode ?? message.Inode.fromPartial({});
  }

  async #ask<Request>(
    which: message.MessageKind,
    request: Request,
    codec: { encode(request: Request): { finish(): Uint8Array } },
  ): Promise<void> {
    await this.client.ask(which, request, codec, message.EmptyReply, this.user);
  }
}
