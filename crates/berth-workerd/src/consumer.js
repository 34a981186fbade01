// Behind `import * as worker`: the default export, and an entrypoint for what other Workers do.
const handler = worker.default;
const isClass = typeof handler === 'function';
if (typeof (isClass ? handler.prototype : handler)?.tail !== 'function') {
  throw new Error('NO_TAIL_HANDLER');
}
export default handler;

const tail = {
  async fetch(request, env, ctx) {
    const events = (await request.json()).map(revive);
    if (isClass) {
      await new handler(ctx, env).tail(events);
    } else {
      await handler.tail(events, env, ctx);
    }
    return new Response('');
  },
};
export { tail as 'berth:tail' };

// An event as workerd makes it.
function revive({ extras, ...item }) {
  const { event } = item;
  // Cron triggers have a number.
  if (typeof event?.scheduledTime === 'string') event.scheduledTime = new Date(event.scheduledTime);
  if (event?.request && extras?.unredacted) {
    const whole = { ...event.request, ...extras.unredacted };
    const value = () => ({ ...whole });
    Object.defineProperty(event.request, 'getUnredacted', { value });
  }
  extras?.messages?.forEach((packed, index) => {
    if (packed !== null) item.diagnosticsChannelEvents[index].message = unpack(packed);
  });
  return item;
}

// See `pack` of the Worker that tells.
function unpack(value) {
  if (typeof value !== 'object' || value === null) return value;
  const pairs = (pairs) => pairs.map(([key, value]) => [unpack(key), unpack(value)]);
  const [[kind, inner]] = Object.entries(value);
  switch (kind) {
    case 'undefined':
      return undefined;
    case 'bigint':
      return BigInt(inner);
    case 'number':
      return Number(inner);
    case 'array':
      return inner.map(unpack);
    case 'date':
      return new Date(inner ?? NaN);
    case 'map':
      return new Map(pairs(inner));
    case 'set':
      return new Set(inner.map(unpack));
    case 'regexp':
      return new RegExp(...inner);
    case 'error': {
      const [name, message, stack] = inner;
      return Object.assign(new Error(message), { name, stack });
    }
    case 'bytes': {
      const array = Uint8Array.from(atob(inner[1]), (char) => char.charCodeAt(0));
      return inner[0] === 'ArrayBuffer' ? array.buffer : new globalThis[inner[0]](array.buffer);
    }
    default:
      return Object.fromEntries(pairs(inner));
  }
}
