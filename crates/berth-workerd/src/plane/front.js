// The data plane of a server: the KV namespaces, D1 databases and queues of all Workers, in workerd's
// own Workers. Their configuration names a resource in a binding's props; over a socket there are none,
// so here a header does, which the client's configuration of the socket sets and a Worker cannot:
// `berth-resource: kv/<id>`, `d1/<id>`, `queue/<name>`, and for the control plane
// `admin/<kind>/<verb>/<id>`. Ids are percent-encoded.

import * as queues from 'queues.js';
import * as kv from 'kv.js';
import * as d1 from 'd1.js';

export { QueueShard, Registry } from 'queues.js';
export { KVNamespace } from 'kv.js';
export { D1Database } from 'd1.js';

const kinds = { kv, d1, queue: queues };

export default {
  async fetch(request, env, ctx) {
    const [kind, ...rest] = (request.headers.get('berth-resource') ?? '')
      .split('/')
      .map(decodeURIComponent);
    switch (kind) {
      case 'kv':
        return kv.serve(request, env, rest[0]);
      case 'd1':
        return d1.serve(request, env, ctx, rest[0]);
      case 'queue':
        return queues.produce(request, env, rest[0]);
      case 'admin': {
        const [of, verb, id] = rest;
        const answer = await kinds[of]?.administer(request, env, verb, id);
        if (answer) return answer;
      }
    }
    return new Response('There is no such resource.\n', { status: 404 });
  },
};
