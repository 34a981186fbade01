import { Container, getContainer } from "@cloudflare/containers";
import { env } from "cloudflare:workers";

interface Env {
  CONFIGURED: DurableObjectNamespace<Configured>;
  SETTINGS: KVNamespace;
  STAGE: string;
  API_KEY?: string;
}

export class Configured extends Container<Env> {
  defaultPort = 8080;
  sleepAfter = "5m";
  // The same for every instance: a constant, a variable and a secret of the Worker
  envVars = {
    FROM_CLASS: "set in the class",
    STAGE: (env as Env).STAGE,
    API_KEY: (env as Env).API_KEY ?? "",
  };
}

const HELP = `GET /default             an instance with the variables of the class
GET /instance/<name>     an instance with variables of its own
PUT /settings/<name>     a setting in KV, read when the instance <name> starts
GET /verify              asks the container to check the secret (X-API-Key)
`;

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const [, route, name] = new URL(request.url).pathname.split("/");
    if (route === "settings" && name && request.method === "PUT") {
      await env.SETTINGS.put(name, await request.text());
      return new Response("saved\n");
    }
    if (route === "default" || route === "verify") {
      return getContainer(env.CONFIGURED).fetch(request);
    }
    if (route === "instance" && name) {
      const container = getContainer(env.CONFIGURED, name);
      // Start options replace the variables of the class
      await container.startAndWaitForPorts({
        startOptions: {
          envVars: {
            INSTANCE_NAME: name,
            SETTING: (await env.SETTINGS.get(name)) ?? "none",
          },
        },
      });
      return container.fetch(request);
    }
    return new Response(HELP, { status: route === "" ? 200 : 404 });
  },
};
