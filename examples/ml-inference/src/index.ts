import { Container, getContainer } from "@cloudflare/containers";

interface Env {
  ML_SERVICE: DurableObjectNamespace<MLService>;
}

export class MLService extends Container<Env> {
  defaultPort = 8080;
  sleepAfter = "15m"; // Keep model loaded
}

export default {
  async fetch(request: Request, env: Env) {
    const ml = getContainer(env.ML_SERVICE, "inference");
    return ml.fetch(request);
  },
};
