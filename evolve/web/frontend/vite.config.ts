import { defineConfig } from "vite";

// Names without hashes: the built files are committed, and the server sends them with validators instead.
export default defineConfig({
  base: "/static/",
  esbuild: { jsx: "automatic", jsxImportSource: "preact", legalComments: "none" },
  build: {
    outDir: process.env.EVOLVE_WEB_OUT ?? "../static",
    emptyOutDir: true,
    assetsDir: "",
    target: "es2022",
    modulePreload: false,
    cssCodeSplit: false,
    reportCompressedSize: true,
    rollupOptions: {
      output: { entryFileNames: "app.js", chunkFileNames: "[name].js", assetFileNames: "[name][extname]" },
    },
  },
  worker: { format: "es", rollupOptions: { output: { entryFileNames: "layout.js" } } },
});
