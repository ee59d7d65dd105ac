// What others may know of a mount: its configuration, to write the file. Programs use the SDK, at
// `@catena/fuse-client/sdk`.
export { mountConfigSchema } from './config.ts';
export * from './sdk/index.ts';
