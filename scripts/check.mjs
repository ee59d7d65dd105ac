// `npm run check`: format, lint, types, clippy, unit tests and the tidy rules.
import { finish, runAll } from './run-all.mjs';
import { checks } from './runners.mjs';

finish(await runAll(checks));
