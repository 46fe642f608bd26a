import { defineConfig } from 'tsdown'

const common = {
  target: 'es2022',
  sourcemap: true,
  fixedExtension: false,
  hash: false,
  // The types carry the documentation.
  outputOptions: { comments: false },
  inputOptions: { checks: { pluginTimings: false } },
  // build.mjs does it once, before the first of these.
  clean: false,
  // What a program installs beside the SDK stays outside; src/core is ours and goes in.
  deps: { neverBundle: [/^(ai|@langchain|@openai|@modelcontextprotocol)(\/|$)/, /^node:/] },
}

const named = (template, chunk) => (typeof template === 'function' ? template(chunk) : template)

export default defineConfig([
  {
    ...common,
    name: 'library',
    // Neutral: nothing of Node's, so that Deno, Bun, edge runtimes and browsers can load it.
    platform: 'neutral',
    // 40 kB at most: a page or an edge function loads it.
    minify: { compress: true, mangle: true, codegen: { removeWhitespace: false } },
    entry: {
      index: 'src/index.ts',
      // Needs Node; here so that its errors are the classes of the entry.
      local: 'src/local.ts',
      'ai-sdk': 'src/adapters/ai-sdk.ts',
      langchain: 'src/adapters/langchain.ts',
      'openai-agents': 'src/adapters/openai-agents.ts',
      mcp: 'src/adapters/mcp.ts',
    },
    format: ['esm', 'cjs'],
    dts: true,
    // In a folder of their own: the declarations that the entries share would be called `index.d.ts`, as the entry is.
    outputOptions: ({ chunkFileNames, ...options }) => ({
      ...options,
      comments: false,
      chunkFileNames: (chunk) => `shared/${named(chunkFileNames, chunk)}`,
    }),
  },
  {
    ...common,
    name: 'verify',
    platform: 'node',
    entry: { verify: 'src/verify.ts' },
    format: ['esm', 'cjs'],
    dts: true,
  },
  {
    ...common,
    name: 'command',
    platform: 'node',
    entry: { cli: 'src/cli.ts', 'check-worker': 'src/check-worker.ts' },
    format: ['esm'],
    dts: false,
  },
  {
    ...common,
    // What `agentguard export --html` puts into its file: one script, nothing beside it.
    name: 'page',
    platform: 'browser',
    entry: { page: 'src/html/page.ts' },
    format: ['iife'],
    dts: false,
    sourcemap: false,
    minify: { compress: true, mangle: true, codegen: { removeWhitespace: false } },
  },
])
