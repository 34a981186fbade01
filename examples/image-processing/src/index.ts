import { Container, getContainer } from "@cloudflare/containers";

interface Env {
  IMAGE_PROCESSOR: DurableObjectNamespace<ImageProcessor>;
}

export class ImageProcessor extends Container<Env> {
  defaultPort = 8080;
  sleepAfter = "5m";
}

export default {
  async fetch(request: Request, env: Env) {
    const processor = getContainer(env.IMAGE_PROCESSOR, "main");
    return processor.fetch(request);
  },
};
