import { Container, getContainer, type StopParams } from "@cloudflare/containers";
import { env } from "cloudflare:workers";

interface Env {
  WATCHED: DurableObjectNamespace<Watched>;
  SLEEP_AFTER: string;
}

interface Entry {
  hook: string;
  at: string;
  detail: Record<string, unknown>;
}

export class Watched extends Container<Env> {
  defaultPort = 8080;
  sleepAfter = (env as Env).SLEEP_AFTER;

  override async onStart() {
    await this.record("onStart");
  }

  override async onStop({ exitCode, reason }: StopParams) {
    await this.record("onStop", { exitCode, reason });
  }

  override async onError(error: unknown) {
    await this.record("onError", { message: String(error) });
    throw error;
  }

  override async onActivityExpired() {
    await this.record("onActivityExpired");
    await this.stop();
  }

  /** What happened to this container so far, oldest first; survives the container. */
  history(): Entry[] {
    this.createTable();
    const rows = this.ctx.storage.sql.exec<{ hook: string; at: string; detail: string }>(
      "SELECT hook, at, detail FROM history ORDER BY id",
    );
    return rows.toArray().map((row) => ({ ...row, detail: JSON.parse(row.detail) }));
  }

  private async record(hook: string, detail: Record<string, unknown> = {}) {
    console.log(hook, JSON.stringify(detail));
    this.createTable();
    this.ctx.storage.sql.exec(
      "INSERT INTO history (hook, at, detail) VALUES (?, ?, ?)",
      hook,
      new Date().toISOString(),
      JSON.stringify(detail),
    );
  }

  private createTable() {
    this.ctx.storage.sql.exec(
      "CREATE TABLE IF NOT EXISTS history " +
        "(id INTEGER PRIMARY KEY, hook TEXT, at TEXT, detail TEXT)",
    );
  }
}

const HELP = `GET  /<id>             a request to the container, which starts it
GET  /<id>/exit/<code> the program in the container exits with this code
POST /<id>/stop        SIGTERM
POST /<id>/destroy     SIGKILL
POST /<id>/broken      start with a program that exits at once
GET  /<id>/status      the state of the container and what its hooks have seen
`;

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const [, id, action] = new URL(request.url).pathname.split("/");
    if (!id) {
      return new Response(HELP);
    }
    const container = getContainer(env.WATCHED, id);
    if (action === "status") {
      const [state, history] = await Promise.all([container.getState(), container.history()]);
      return Response.json({ state, history });
    }
    if (request.method === "POST" && action === "stop") {
      await container.stop();
      return new Response("stopping\n");
    }
    if (request.method === "POST" && action === "destroy") {
      await container.destroy();
      return new Response("destroyed\n");
    }
    if (request.method === "POST" && action === "broken") {
      try {
        await container.startAndWaitForPorts({ startOptions: { entrypoint: ["/bin/false"] } });
      } catch (error) {
        return new Response(`${error}\n`, { status: 500 });
      }
    }
    return container.fetch(request);
  },
};
