// Answers with the environment it was given. The secret is shown by its length only.
import { readFileSync } from "node:fs";
import http from "node:http";

const { API_KEY, ...variables } = process.env;
const buildInfo = readFileSync("build-info.txt", "utf8").trim();
const body = JSON.stringify({ buildInfo, apiKeyLength: API_KEY?.length ?? 0, variables });

const server = http.createServer((request, response) => {
  if (new URL(request.url, "http://container").pathname === "/verify") {
    // Something that only works with the secret
    response.statusCode = API_KEY && request.headers["x-api-key"] === API_KEY ? 200 : 403;
    return response.end();
  }
  response.setHeader("Content-Type", "application/json");
  response.end(body);
});

process.on("SIGTERM", () => process.exit(0));
server.listen(8080);
