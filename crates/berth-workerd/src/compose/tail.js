// Tells what the Worker does (requests, alarms, their logs and exceptions) to whoever runs it, in the form
// that tail Workers get it; only while somebody wants to know, because it costs every request something.
const MOST = 8 << 20;
// '0': nobody, '1': people and logs, '2': also other Workers, which get what JSON has no form for.
let wanted = '0';
let waiting = [];
let size = 0;
let sending = false;

async function send(env) {
  sending = true;
  try {
    while (waiting.length > 0) {
      const body = `[${waiting.join(',')}]`;
      waiting = [];
      size = 0;
      await env.SINK.fetch(`http://sink${env.PATH}`, { method: 'POST', body });
    }
  } catch {
    // Nobody listens any more.
  } finally {
    sending = false;
  }
}

function told(event) {
  const text = JSON.stringify(event, plain);
  if (wanted !== '2') return text;
  const more = JSON.stringify(extras(event));
  return more === '{}' ? text : `${text.slice(0, -1)},"extras":${more}}`;
}

const plain = (_, value) => (typeof value === 'bigint' ? `${value}` : value);

function extras(event) {
  const more = {};
  const request = event.event?.request;
  if (request) {
    const { url, headers } = request.getUnredacted();
    more.unredacted = { url, headers };
  }
  const messages = event.diagnosticsChannelEvents ?? [];
  if (messages.length > 0) more.messages = messages.map(({ message }) => attempt(message));
  return more;
}

// One that cannot be told whole is told as JSON has it.
function attempt(message) {
  try {
    return pack(message, 0);
  } catch {
    return null;
  }
}

// A structured clone as JSON: an object has one field, which says what it is.
function pack(value, depth) {
  if (depth > 100) throw new RangeError('too deep, or a circle');
  const inner = (value) => pack(value, depth + 1);
  const pairs = (pairs) => Array.from(pairs, ([key, value]) => [inner(key), inner(value)]);
  if (value === undefined) return { undefined: 0 };
  if (typeof value === 'bigint') return { bigint: `${value}` };
  if (typeof value === 'number' && JSON.stringify(value) !== `${value}`) return { number: `${value}` };
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return { array: Array.from(value, inner) };
  if (value instanceof Date) return { date: value.getTime() };
  if (value instanceof Map) return { map: pairs(value) };
  if (value instanceof Set) return { set: Array.from(value, inner) };
  if (value instanceof RegExp) return { regexp: [value.source, value.flags] };
  if (value instanceof Error) return { error: [value.name, value.message, value.stack ?? ''] };
  if (value instanceof ArrayBuffer) return { bytes: ['ArrayBuffer', bytes(new Uint8Array(value))] };
  if (ArrayBuffer.isView(value)) {
    const { buffer, byteOffset, byteLength } = value;
    return { bytes: [value.constructor.name, bytes(new Uint8Array(buffer, byteOffset, byteLength))] };
  }
  return { object: pairs(Object.entries(value)) };
}

const bytes = (array) => btoa(Array.from(array, (byte) => String.fromCharCode(byte)).join(''));

export default {
  async fetch(request) {
    wanted = await request.text();
    return new Response('', { status: 200 });
  },
  tail(events, env, ctx) {
    if (wanted === '0') return;
    for (const event of events) {
      const text = told(event);
      if (size + text.length > MOST) break;
      size += text.length;
      waiting.push(text);
    }
    // While one message is under way, the next one fills.
    if (!sending) ctx.waitUntil(send(env));
  },
};
