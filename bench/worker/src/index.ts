import { Container, getContainer } from "@cloudflare/containers";

interface Env {
  APP: DurableObjectNamespace<App>;
}

export class App extends Container<Env> {
  defaultPort = 8080;
  sleepAfter = "10m";
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const [, action, id] = new URL(request.url).pathname.split("/");
    switch (action) {
      case "container":
        return getContainer(env.APP, id).fetch(new Request("http://app/"));
      case "socket":
        return getContainer(env.APP, id).fetch(request);
      case "destroy":
        await getContainer(env.APP, id).destroy();
        return new Response("destroyed");
      case "worker":
        return new Response("hello");
      default:
        return new Response("not found", { status: 404 });
    }
  },
};
