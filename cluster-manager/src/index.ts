// What others may know of the manager: its configuration, to write the file.
export { managerConfigSchema } from './config.ts';
