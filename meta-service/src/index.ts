// What others may know of the metadata service: the schema of its configuration. It is started as a process
// (main.ts).
export { type MetaConfig, metaSchema } from './config.ts';
