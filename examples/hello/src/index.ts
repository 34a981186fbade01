import { Container, getContainer, getRandom } from "@cloudflare/containers";

interface Env {
  MY_CONTAINER: DurableObjectNamespace<MyContainer>;
}

export class MyContainer extends Container<Env> {
  // The port the program in the container listens on
  defaultPort = 8080;
  // Stop the container after two minutes without a request
  sleepAfter = "2m";
  // Environment of the program in the container
  envVars = {
    MESSAGE: "I was passed in via the container class!",
  };

  override onStart() {
    console.log("Container started");
  }

  override onStop() {
    console.log("Container stopped");
  }

  override onError(error: unknown) {
    console.log("Container error:", error);
  }
}

const HELP = `Available routes:
GET /container/<id> - one container per id
GET /lb - one of three containers, chosen at random
GET /singleton - always the same container
GET /error - a container whose program crashes
`;

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const [, route, id] = new URL(request.url).pathname.split("/");
    switch (route) {
      case "":
        return new Response(HELP);
      case "container":
        return getContainer(env.MY_CONTAINER, `/container/${id}`).fetch(request);
      case "lb":
        return (await getRandom(env.MY_CONTAINER, 3)).fetch(request);
      case "singleton":
        return getContainer(env.MY_CONTAINER).fetch(request);
      case "error":
        return getContainer(env.MY_CONTAINER, "error").fetch(request);
      default:
        return new Response("Not Found", { status: 404 });
    }
  },
};
