// Queues: workerd's shards, with a consumer that runs in another process, and what the control plane
// does to a queue.

import { DurableObject, env as configured } from 'cloudflare:workers';
import { consume, consumers, taken } from 'consumers.js';
import bundled, { QueueShard as Bundled } from 'bundled-queues.js';

taken();

// Seconds before a message is delivered that says nothing of it itself, by queue.
let delays = {};

// What was so when the process was started, before any shard looks whom to deliver to.
configure(configured.QUEUES);

function configure(settings) {
  delays = settings.delays;
  return consume(settings.consumers);
}

// How long a batch rests whose consumer does not run.
const REST_S = 2;
// Base64 is made of pieces that fit a call's arguments.
const PIECE = 32 * 1024;
const DELAY = 'X-Msg-Delay-Secs';

/** The shards of a queue that have ever had a message. */
export class Registry extends DurableObject {
  add(shard) {
    this.ctx.storage.kv.put(shard, true);
  }

  all() {
    return [...this.ctx.storage.kv.list()].map(([shard]) => shard);
  }

  clear() {
    return this.ctx.storage.deleteAll();
  }
}

export class QueueShard extends Bundled {
  #registry;
  #registered = false;

  constructor(ctx, env) {
    release(ctx.storage.sql);
    const app = { queue: (queue, messages, metadata) => this.#send(queue, messages, metadata) };
    super(ctx, { ...env, app });
    this.#registry = env.REGISTRY;
  }

  async call(queue, ...rest) {
    if (!this.#registered) {
      await this.#registry.getByName(queue).add(this.ctx.id.name);
      this.#registered = true;
    }
    return super.call(queue, ...rest);
  }

  /** Looks again at what is to be delivered. */
  wake(queue) {
    return super.call(queue, '/metrics', 'v8', 0, null).body;
  }

  async purge() {
    this.ctx.storage.sql.exec('DELETE FROM messages');
    await this.ctx.storage.sync();
    // What it has counted in memory is wrong now.
    this.ctx.abort('purged');
  }

  // To the consumer. One that does not run has not failed: that is no attempt.
  async #send(queue, messages, metadata) {
    const body = JSON.stringify({ queue, metadata, messages: messages.map(packed) });
    const init = { method: 'POST', headers: { 'berth-queue': encodeURIComponent(queue) }, body };
    const response = await this.env.APPS.fetch('http://queues/deliver', init);
    if (response.status !== 503) {
      if (!response.ok) throw new Error(await response.text());
      return response.json();
    }
    const { sql } = this.ctx.storage;
    for (const { id } of messages) {
      sql.exec('UPDATE messages SET attempts = attempts - 1 WHERE id = ?', id);
    }
    const retryBatch = { retry: true, delaySeconds: REST_S };
    return { outcome: 'ok', ackAll: false, retryBatch, explicitAcks: [], retryMessages: [] };
  }
}

// What the last process had out when it ended is not a failure of its consumer.
function release(sql) {
  const table = "SELECT 1 FROM sqlite_master WHERE name = 'messages'";
  if (sql.exec(table).toArray().length === 0) return;
  sql.exec('UPDATE messages SET lease = NULL, leased_until = NULL WHERE lease IS NOT NULL');
}

function packed({ id, timestamp, attempts, body, serializedBody }) {
  const message = { id, timestamp: timestamp.getTime(), attempts };
  if (serializedBody) return { ...message, serialized: base64(serializedBody) };
  if (body instanceof ArrayBuffer) return { ...message, bytes: base64(new Uint8Array(body)) };
  return { ...message, body };
}

function base64(bytes) {
  let text = '';
  for (let at = 0; at < bytes.length; at += PIECE) {
    text += String.fromCharCode(...bytes.subarray(at, at + PIECE));
  }
  return btoa(text);
}

/** A producer's request. */
export function produce(request, env, queue) {
  const delay = delays[queue];
  if (delay && !request.headers.has(DELAY)) {
    request = new Request(request);
    request.headers.set(DELAY, delay);
  }
  return bundled.fetch(request, env, { props: { queue } });
}

/** `PUT settings`: of all queues; `POST purge`, `POST forget`, `POST metrics`: of one. */
export async function administer(request, env, verb, queue) {
  switch (`${request.method} ${verb}`) {
    case 'PUT settings': {
      // Those of before may have left messages behind that nobody has looked at since.
      configure(await request.json());
      const changed = Object.keys(consumers);
      await Promise.all(changed.map((queue) => each(env, queue, (shard) => shard.wake(queue))));
      return Response.json({});
    }
    case 'POST purge':
      // A shard that is purged answers nothing: it starts anew.
      await each(env, queue, (shard) => shard.purge().catch(() => {}));
      return Response.json({});
    case 'POST forget':
      await each(env, queue, (shard) => shard.purge().catch(() => {}));
      await env.REGISTRY.getByName(queue).clear();
      return Response.json({});
    case 'POST metrics': {
      const sums = { backlogCount: 0, backlogBytes: 0 };
      for (const text of await each(env, queue, (shard) => shard.wake(queue))) {
        const metrics = JSON.parse(text);
        sums.backlogCount += metrics.backlogCount;
        sums.backlogBytes += metrics.backlogBytes;
      }
      return Response.json(sums);
    }
  }
  return undefined;
}

async function each(env, queue, call) {
  const shards = await env.REGISTRY.getByName(queue).all();
  return Promise.all(shards.map((shard) => call(env.SHARD.getByName(shard))));
}
