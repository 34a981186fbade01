const { createServer } = require("node:http");

process.on("SIGTERM", () => process.exit(0));
createServer((request, response) => response.end("hello\n")).listen(Number(process.env.PORT ?? 8080));
