// KV namespaces: workerd's, and what the control plane does to one.

import bundled, { KVNamespace as Bundled } from 'bundled-kv.js';

export class KVNamespace extends Bundled {
  async forget() {
    await this.ctx.storage.deleteAll();
    this.ctx.abort('forgotten');
  }
}

const HOST = 'http://kv';
// Values that are written or deleted side by side.
const SIDE_BY_SIDE = 50;

/** A binding's request. */
export function serve(request, env, namespace) {
  return bundled.fetch(request, { SHARD: env.KV, BLOBS: env.BLOBS }, { props: { namespace } });
}

/** `PUT bulk`, `DELETE bulk`: many keys; `POST forget`: the whole namespace. */
export async function administer(request, env, verb, namespace) {
  switch (`${request.method} ${verb}`) {
    case 'PUT bulk':
      return many(await request.json(), (pair) => serve(writing(pair), env, namespace));
    case 'DELETE bulk':
      return many(await request.json(), (key) => {
        const url = `${HOST}/${encodeURIComponent(key)}`;
        return serve(new Request(url, { method: 'DELETE' }), env, namespace);
      });
    case 'POST forget': {
      const id = env.KV.idFromName(namespace);
      await env.KV.get(id).forget().catch(() => {});
      return Response.json({ directory: id.toString() });
    }
  }
  return undefined;
}

async function many(items, call) {
  for (let at = 0; at < items.length; at += SIDE_BY_SIDE) {
    const answers = await Promise.all(items.slice(at, at + SIDE_BY_SIDE).map(call));
    const failed = answers.find((answer) => !answer.ok);
    if (failed) return failed;
  }
  return Response.json({});
}

function writing({ key, value, expiration, expiration_ttl, metadata, base64 }) {
  const url = new URL(`${HOST}/${encodeURIComponent(key)}`);
  if (expiration !== undefined) url.searchParams.set('expiration', expiration);
  if (expiration_ttl !== undefined) url.searchParams.set('expiration_ttl', expiration_ttl);
  const headers = {};
  if (metadata !== undefined) headers['CF-KV-Metadata'] = JSON.stringify(metadata);
  const body = base64 ? Uint8Array.from(atob(value), (char) => char.charCodeAt(0)) : value;
  return new Request(url, { method: 'PUT', headers, body });
}
