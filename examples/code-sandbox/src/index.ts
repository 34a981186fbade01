import { Container, getContainer } from "@cloudflare/containers";

interface Env {
  SANDBOX: DurableObjectNamespace<Sandbox>;
}

export class Sandbox extends Container<Env> {
  defaultPort = 8080;
  sleepAfter = "5m";
  // Code of strangers does not talk to the network
  enableInternet = false;
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const user = request.headers.get("X-User-ID");
    if (!user) {
      return new Response("X-User-ID header required", { status: 401 });
    }
    const { pathname } = new URL(request.url);
    if (request.method !== "POST" || pathname !== "/execute") {
      return new Response("POST /execute with code", { status: 400 });
    }
    // Each user has a container of their own
    return getContainer(env.SANDBOX, `user-${user}`).fetch(request);
  },
};
