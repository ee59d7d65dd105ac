// What others may know of a storage node: its configuration, to write the file.
export { storageConfigSchema } from './config.ts';
