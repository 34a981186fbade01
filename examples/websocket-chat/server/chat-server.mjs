// One chat room: everybody who is connected to this container hears everybody else.
import http from "node:http";

import { accept } from "./websocket.mjs";

const HISTORY = 50;
const members = new Map();
const history = [];

const server = http.createServer((request, response) => {
  response.setHeader("Content-Type", "application/json");
  response.end(JSON.stringify({ members: [...members.values()], messages: history.length }));
});

server.on("upgrade", (request, socket, head) => {
  const connection = accept(request, socket, head);
  if (!connection) return;
  const parameters = new URL(request.url, "http://container").searchParams;
  const username = parameters.get("username") ?? "anonymous";
  connection.send(JSON.stringify({ type: "welcome", members: [...members.values()], history }));
  members.set(connection, username);
  console.log(`${username} joined`);
  broadcast({ type: "join", username });

  connection.on("message", (data) => {
    let text;
    try {
      text = String(JSON.parse(data).text);
    } catch {
      connection.send(JSON.stringify({ type: "error", error: "expected JSON with a text" }));
      return;
    }
    const message = { type: "message", username, text, timestamp: Date.now() };
    history.push(message);
    if (history.length > HISTORY) history.shift();
    broadcast(message);
  });

  connection.on("close", () => {
    members.delete(connection);
    console.log(`${username} left`);
    broadcast({ type: "leave", username });
  });
});

function broadcast(message) {
  const data = JSON.stringify(message);
  for (const connection of members.keys()) connection.send(data);
}

process.on("SIGTERM", () => {
  for (const connection of members.keys()) connection.close(1001);
  server.close(() => process.exit(0));
  server.closeAllConnections();
});

server.listen(8080, () => console.log("Chat room is open on port 8080"));
