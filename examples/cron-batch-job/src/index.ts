import { Container, getContainer, type StopParams } from "@cloudflare/containers";

import orders from "./orders.csv";

interface Env {
  BATCH_JOB: DurableObjectNamespace<BatchJob>;
  CURRENCY: string;
}

interface Run {
  startedAt: number;
  trigger: string;
  report: unknown;
  exitCode: number | null;
}

export class BatchJob extends Container<Env> {
  defaultPort = 8080;
  sleepAfter = "1m";

  /** Runs the job once: starts its container, hands the orders over, keeps the report. */
  async run(trigger: string, csv: string): Promise<Response> {
    const startedAt = Date.now();
    // One run at a time: the one before may still be on its way out
    if (this.ctx.container?.running) {
      await this.ctx.container.monitor().catch(() => {});
    }
    await this.startAndWaitForPorts({
      startOptions: { envVars: { JOB_TRIGGER: trigger, CURRENCY: this.env.CURRENCY } },
    });
    const response = await this.containerFetch("http://job/", { method: "POST", body: csv });
    const report = await response.json();
    const runs = await this.runs();
    runs.push({ startedAt, trigger, report, exitCode: null });
    await this.ctx.storage.put("runs", runs);
    return Response.json(report, { status: response.status });
  }

  async runs(): Promise<Run[]> {
    return (await this.ctx.storage.get<Run[]>("runs")) ?? [];
  }

  override async onStop({ exitCode }: StopParams) {
    console.log(`Job ended with exit code ${exitCode}`);
    const runs = await this.runs();
    const last = runs.at(-1);
    if (last) {
      last.exitCode = exitCode;
      await this.ctx.storage.put("runs", runs);
    }
  }
}

export default {
  async scheduled(controller: ScheduledController, env: Env) {
    console.log(`Cron trigger ${controller.cron}`);
    await getContainer(env.BATCH_JOB, "nightly").run(`cron ${controller.cron}`, orders);
  },

  async fetch(request: Request, env: Env): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (request.method === "POST" && pathname === "/trigger") {
      const csv = (await request.text()) || orders;
      return getContainer(env.BATCH_JOB, "manual").run("manual", csv);
    }
    if (pathname === "/runs/nightly" || pathname === "/runs/manual") {
      const job = getContainer(env.BATCH_JOB, pathname.slice("/runs/".length));
      return Response.json(await job.runs());
    }
    return new Response("POST /trigger, GET /runs/manual or GET /runs/nightly\n", { status: 404 });
  },
};
