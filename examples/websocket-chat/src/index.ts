import { Container, getContainer } from "@cloudflare/containers";

import page from "./page.html";

interface Env {
  CHAT_ROOM: DurableObjectNamespace<ChatRoom>;
}

export class ChatRoom extends Container<Env> {
  defaultPort = 8080;
  // An open WebSocket with traffic keeps the room awake
  sleepAfter = "30m";
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const url = new URL(request.url);
    if (url.pathname === "/") {
      return new Response(page, { headers: { "Content-Type": "text/html; charset=utf-8" } });
    }
    if (url.pathname !== "/chat" && url.pathname !== "/room") {
      return new Response("Not Found", { status: 404 });
    }
    if (url.pathname === "/chat" && request.headers.get("Upgrade") !== "websocket") {
      return new Response("WebSocket required", { status: 426 });
    }
    // One container per room
    const room = url.searchParams.get("room") ?? "lobby";
    return getContainer(env.CHAT_ROOM, `room-${room}`).fetch(request);
  },
};
