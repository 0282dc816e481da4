/** The real world for the stream: this browser's socket, monotonic clock, timers and randomness. */

import type { Socket, World } from "./stream";

export function browserWorld(): World {
  return {
    open: () => new WebSocket(streamUrl()) as Socket,
    nowMs: () => performance.now(),
    random: Math.random,
    every: (ms, run) => {
      const timer = setInterval(run, ms);
      return () => clearInterval(timer);
    },
    after: (ms, run) => {
      const timer = setTimeout(run, ms);
      return () => clearTimeout(timer);
    },
  };
}

function streamUrl(): string {
  const url = new URL("/v1/stream", location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.hash = "";
  return url.href;
}
