// Every protobuf message and enumeration under one name: `import { message } from '@catena/core'`, then
// `message.Inode`. Only generated code imports the protobuf runtime.
export * from './generated/common.ts';
export * from './generated/manager.ts';
export * from './generated/meta.ts';
export * from './generated/storage.ts';
