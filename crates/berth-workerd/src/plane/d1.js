// D1 databases: workerd's, and what the control plane does to one.

import Bundled, { D1Database as BundledDatabase } from 'bundled-d1.js';

export class D1Database extends BundledDatabase {
  /** Bytes, and how many tables are its user's. */
  info() {
    const { sql } = this.ctx.storage;
    const own = "SELECT count(*) AS n FROM sqlite_master WHERE type = 'table' " +
      "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE '\\_cf\\_%' ESCAPE '\\'";
    return { file_size: sql.databaseSize, num_tables: sql.exec(own).one().n };
  }

  async forget() {
    await this.ctx.storage.deleteAll();
    this.ctx.abort('forgotten');
  }
}

/** What workerd's Worker is, for the database that is asked for and not the one that props name. */
class Front extends Bundled {
  constructor(ctx, env, database) {
    super(ctx, env);
    Object.defineProperty(this, 'ctx', { value: { props: { database } } });
  }
}

/** A binding's request. */
export function serve(request, env, ctx, database) {
  return new Front(ctx, env, database).fetch(request);
}

/** `POST info`, `POST forget`, `POST dump`. */
export async function administer(request, env, verb, database) {
  const object = env.DATABASE.getByName(database);
  switch (`${request.method} ${verb}`) {
    case 'POST info':
      return Response.json(await object.info());
    case 'POST forget':
      await object.forget().catch(() => {});
      return Response.json({});
    case 'POST dump': {
      const { no_schema, no_data, tables } = await request.json();
      try {
        return Response.json({ sql: await object.dump(no_schema, no_data, ...tables) });
      } catch (error) {
        return Response.json({ error: String(error.message ?? error) });
      }
    }
  }
  return undefined;
}
