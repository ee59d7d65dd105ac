// The boot clock that leases are counted on (P29).
import { binding } from './binding.ts';

/** Milliseconds since the machine was started; goes on while it is suspended, and nobody can set it. */
export function bootClockMs(): number {
  return binding().bootClockMs();
}
