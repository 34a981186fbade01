import { Container, getContainer } from "@cloudflare/containers";

interface Env {
  ASSETS: Fetcher;
  BACKEND: DurableObjectNamespace<Backend>;
}

export class Backend extends Container<Env> {
  defaultPort = 8080;
  sleepAfter = "10m";
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (pathname.startsWith("/api/")) {
      return getContainer(env.BACKEND, "main").fetch(request);
    }
    return env.ASSETS.fetch(request);
  },
};
