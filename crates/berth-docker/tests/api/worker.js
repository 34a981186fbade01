// A Durable Object that does with its container what the test's URL says.
import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";

export class Outside extends WorkerEntrypoint {
  fetch(request) {
    return new Response(`intercepted ${new URL(request.url).pathname}`);
  }

  // A raw connection: says what it heard first.
  async connect(socket) {
    const { value } = await socket.readable.getReader().read();
    const writer = socket.writable.getWriter();
    await writer.write(new TextEncoder().encode(`heard ${new TextDecoder().decode(value)}`));
    await writer.close();
  }
}

export class Box extends DurableObject {
  async fetch(request) {
    const container = this.ctx.container;
    const url = new URL(request.url);
    switch (url.pathname.split("/")[1]) {
      case "start": {
        const { entrypoint, internet } = await request.json();
        container.start({ entrypoint, enableInternet: internet, env: { GREETING: "hello" } });
        this.exit = container.monitor().then(
          () => "exited with 0",
          (error) => `${error.exitCode}: ${error.message}`,
        );
        return new Response("started");
      }
      case "app": {
        const path = url.pathname.slice("/app".length);
        const answer = await container.getTcpPort(8080).fetch(`http://container${path}`);
        return new Response(await answer.text());
      }
      case "refused":
        return container.getTcpPort(33).fetch("http://container/").then(
          () => new Response("answered"),
          (error) => new Response(error.message),
        );
      case "exit":
        return new Response(await this.exit);
      case "adopt":
        this.exit = container.monitor().then(
          () => "exited with 0",
          (error) => `${error.exitCode}: ${error.message}`,
        );
        return new Response(String(container.running));
      case "running":
        return new Response(String(container.running));
      case "signal":
        container.signal(Number(url.searchParams.get("n")));
        return new Response("sent");
      case "destroy":
        await container.destroy();
        return new Response("destroyed");
      case "intercept":
        await container.interceptOutboundHttp("203.0.113.7", this.ctx.exports.Outside({ props: {} }));
        await container.interceptOutboundTcp("203.0.113.9:7000", this.ctx.exports.Outside({ props: {} }));
        await container.interceptOutboundTcp("198.18.0.0/15", this.ctx.exports.Outside({ props: {} }));
        return new Response("intercepting");
    }
    return new Response("unknown", { status: 404 });
  }
}

export default {
  fetch(request, env) {
    return env.BOX.get(env.BOX.idFromName("one")).fetch(request);
  },
};
