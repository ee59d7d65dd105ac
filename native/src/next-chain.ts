// What becomes of a chain (design §2): the one pure function that the simulator runs too.
import { message } from '@catena/core';
import { binding } from './binding.ts';

export function nextChain(request: message.NextChainRequest): message.NextChainReply {
  const bytes = message.NextChainRequest.encode(request).finish();
  return message.NextChainReply.decode(binding().nextChain(bytes));
}
