// A web server that says which instance answered. It stops cleanly on SIGTERM.
const http = require("node:http");

const message = process.env.MESSAGE ?? "";
const instance = process.env.CLOUDFLARE_DURABLE_OBJECT_ID ?? "unknown";
let served = 0;

const server = http.createServer((request, response) => {
  const { pathname } = new URL(request.url, "http://container");
  if (pathname === "/") {
    // The container class asks here whether the program is ready
    return response.end("ready\n");
  }
  if (pathname === "/error") {
    console.error("Asked to crash, so I do");
    process.exit(1);
  }
  served += 1;
  console.log(`${request.method} ${pathname}`);
  response.setHeader("Content-Type", "text/plain; charset=utf-8");
  response.end(
    `Hi, I'm a container and this is my message: "${message}", ` +
      `my instance ID is: ${instance} and I have answered ${served} request(s)\n`,
  );
});

process.on("SIGTERM", () => {
  console.log("Received SIGTERM, shutting down");
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});

server.listen(8080, () => console.log("Listening on port 8080"));
