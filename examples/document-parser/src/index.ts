import { Container } from "@cloudflare/containers";
import { env } from "cloudflare:workers";

interface Env {
  DOC_PARSER: DurableObjectNamespace<DocParser>;
  DOCUMENTS: R2Bucket;
  R2_BUCKET_NAME: string;
  R2_ENDPOINT: string;
  R2_ACCESS_KEY: string;
  R2_SECRET_KEY: string;
}

export class DocParser extends Container<Env> {
  defaultPort = 8080;
  sleepAfter = "10m";
  envVars = {
    R2_BUCKET_NAME: (env as Env).R2_BUCKET_NAME,
    R2_ENDPOINT: (env as Env).R2_ENDPOINT,
    R2_ACCESS_KEY: (env as Env).R2_ACCESS_KEY,
    R2_SECRET_KEY: (env as Env).R2_SECRET_KEY,
  };
}

const HELP = `PUT /documents/<key>     keeps a document (.pdf, .xlsx)
POST /                   parses one: {"r2Key": "<key>"}
`;

// Worker — calls Python container for document parsing
export default {
  async fetch(req: Request, env: Env): Promise<Response> {
    const { pathname } = new URL(req.url);
    if (req.method === "PUT" && pathname.startsWith("/documents/")) {
      await env.DOCUMENTS.put(pathname.slice("/documents/".length), req.body);
      return new Response("kept\n");
    }
    if (req.method !== "POST") {
      return new Response(HELP);
    }
    const { r2Key } = (await req.json()) as { r2Key: string };
    // Route to document parser container (session by r2Key)
    const id = env.DOC_PARSER.idFromName(r2Key);
    const stub = env.DOC_PARSER.get(id);
    const parsed = await stub.fetch(
      new Request("http://container/parse", {
        method: "POST",
        body: JSON.stringify({ r2Key }),
        headers: { "Content-Type": "application/json" },
      }),
    );
    if (!parsed.ok) {
      return parsed;
    }
    // The container has written the result to R2
    const { resultKey } = (await parsed.json()) as { resultKey: string };
    const result = await env.DOCUMENTS.get(resultKey);
    return new Response(result?.body ?? null, {
      status: result ? 200 : 502,
      headers: { "Content-Type": "application/json" },
    });
  },
};
