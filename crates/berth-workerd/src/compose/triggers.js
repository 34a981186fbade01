// Runs a handler of the Worker on request, under wrangler's paths:
// /cdn-cgi/handler/scheduled?cron=<expression>&time=<milliseconds since 1970>. On a server also what its
// data plane and its API ask for, under paths that the gateway does not lead here: POST /queue, a batch
// of messages, and POST /workflow/<name>/<verb>.
export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    const [first, ...rest] = url.pathname.slice(1).split('/').map(decodeURIComponent);
    if (url.pathname === '/cdn-cgi/handler/scheduled') return scheduled(url, env);
    if (first === 'queue') return queue(await request.json(), env);
    const flow = first === 'workflow' && env[`workflow:${rest[0]}`];
    if (flow && rest[1] === 'list') return list(env[`instances:${rest[0]}`], await request.json());
    if (flow) return workflow(flow, rest[1], await request.json());
    return new Response('There is no such handler to trigger.\n', { status: 404 });
  },
};

async function scheduled(url, env) {
  const time = url.searchParams.get('time');
  const { outcome } = await env.WORKER.scheduled({
    scheduledTime: time === null ? new Date() : new Date(Number(time)),
    cron: url.searchParams.get('cron') ?? '',
  });
  return new Response(outcome, { status: outcome === 'ok' ? 200 : 500 });
}

// A batch, as the data plane packs it.
async function queue({ queue, metadata, messages }, env) {
  const unpacked = messages.map(({ timestamp, serialized, bytes, ...message }) => {
    message.timestamp = new Date(timestamp);
    if (serialized !== undefined) message.serializedBody = binary(serialized);
    if (bytes !== undefined) message.body = binary(bytes).buffer;
    return message;
  });
  return Response.json(await env.WORKER.queue(queue, unpacked, metadata));
}

const binary = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));

async function workflow(flow, verb, { id, params, event }) {
  try {
    if (verb === 'create') {
      const instance = await flow.create({ ...(id && { id }), params });
      return Response.json({ id: instance.id, ...(await instance.status()) });
    }
    const instance = await flow.get(id);
    if (verb === 'send') await instance.sendEvent(event);
    else if (verb !== 'status') await instance[verb]();
    return Response.json({ id, ...(await instance.status()) });
  } catch (error) {
    return Response.json({ error: String(error.message ?? error) }, { status: 400 });
  }
}

// As the engine numbers them.
const STATUSES = [
  'queued', 'running', 'paused', 'errored', 'terminated', 'complete', 'waitingForPause', 'waiting',
];

// What there is of the objects with these ids, as hex; null of those that are no instances any more.
async function list(objects, { ids }) {
  const one = async (hex) => {
    try {
      const object = objects.get(objects.idFromString(hex));
      const { instanceId, status, createdOn } = await object.getInstanceMetadata();
      return { id: instanceId, status: STATUSES[status] ?? 'unknown', created_on: createdOn };
    } catch {
      return null;
    }
  };
  return Response.json(await Promise.all(ids.map(one)));
}
