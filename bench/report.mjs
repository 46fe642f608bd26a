// The tables as Markdown, with what the reader has to know beside them.

const CAVEATS = `How to read this:

- Client, server and PostgreSQL share the cores, so every figure pays for the load generator too. Ratios of one run say
  more than rates.
- Every answer of AgentGuard comes after its log entry is committed to disk (\`fsync\` on). Cerbos' file audit is
  buffered and not fsynced; without audit it keeps no record.
- Cerbos is the richer policy engine (CEL conditions, derived roles, schemas). Here both evaluate the same 51 rules.
  Its REST interface goes through a gRPC gateway inside the process, which costs it CPU that a gRPC client would not pay.
- The floor is what any HTTP answer costs in this runtime: no key, no decision, no database.
- AgentGuard's server CPU includes hashing the log into its tree and signing checkpoints while it is asked.
- What single parts cost, and what was tried, is in [NOTES.md](NOTES.md).
`

export function markdown(tables, machine, { quick }) {
  const { cores, processor, memory, system, node, load } = machine
  return [
    '# Benchmark results',
    '',
    `Written by \`npm run bench\`${quick ? ' with BENCH_QUICK=1: a look, not a measurement' : ''} on ${new Date().toISOString().slice(0, 10)}.`,
    `${cores} × ${processor}, ${memory}, ${system}, Node ${node}; load average at the start ${load.toFixed(2)}.`,
    '',
    CAVEATS,
    ...tables.flatMap(({ title, note, columns, rows }) => [
      `## ${title}`,
      '',
      ...(note ? [note, ''] : []),
      `| ${columns.join(' | ')} |`,
      `| ${columns.map(() => '---').join(' | ')} |`,
      ...rows.map((row) => `| ${row.join(' | ')} |`),
      '',
    ]),
  ].join('\n')
}
