import { defineConfig } from "vitest/config";

// In development the page is served by Vite and the data by a gateway on its default port.
const GATEWAY = process.env["MANDI_GATEWAY"] ?? "http://127.0.0.1:8080";

export default defineConfig({
  base: "/",
  build: {
    target: "es2022",
    assetsDir: "assets",
    sourcemap: false,
    modulePreload: { polyfill: false },
  },
  server: { proxy: { "/v1": { target: GATEWAY, ws: true } } },
  test: { include: ["tests/unit/**/*.test.ts"], environment: "node" },
});
