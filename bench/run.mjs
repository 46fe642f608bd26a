// `npm run bench`: measures the built service beside what somebody would pick instead, prints the tables and writes
// them to bench/RESULTS.md. Everything runs on this machine, load generator included: trust ratios of one run first,
// CPU a request second, rates last.
//
//   BENCH_PARTS=throughput,open,sizes,agents,batches,ledger,memory,sharing   which parts (default: all)
//   BENCH_QUICK=1        short rounds and a small log: to see that it works
//   BENCH_ONLY=lane      in the first part, only these subjects
//   BENCH_FLOODS=…       in the last part, only these floods: single requests,batches of 100
//   BENCH_OUT=-          only print
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, loadAverage } from './machine.mjs'
import { agents } from './agents.mjs'
import * as parts from './parts.mjs'
import { sharing } from './sharing.mjs'
import { markdown } from './report.mjs'

const quick = process.env.BENCH_QUICK === '1'
const seconds = Number(process.env.BENCH_SECONDS ?? (quick ? 2 : 10))
const SETTINGS = {
  throughput: {
    seconds,
    rounds: Number(process.env.BENCH_ROUNDS ?? (quick ? 1 : 3)),
    connections: [32, 64],
    only: process.env.BENCH_ONLY?.split(','),
  },
  open: { seconds, rates: [200, 500, 1000] },
  sizes: {
    seconds: seconds / 2,
    rules: [10, 100, 1_000, 10_000],
  },
  agents: {
    seconds: seconds / 2,
    rounds: quick ? 1 : 5,
    counts: quick ? [1, 100, 1_000] : [1, 100, 10_000],
  },
  batches: { seconds: seconds / 2 },
  ledger: {
    seconds: seconds / 2,
    entries: Number(process.env.BENCH_ENTRIES ?? (quick ? 250_000 : 5_000_000)),
  },
  memory: { seconds: seconds * 6 },
  sharing: { rounds: quick ? 2 : 10, kinds: process.env.BENCH_FLOODS?.split(',') },
}

const wanted = process.env.BENCH_PARTS?.split(',') ?? Object.keys(SETTINGS)
const machine = { ...describe(), load: loadAverage() }
const tables = []
for (const name of wanted) {
  if (!(name in SETTINGS))
    throw new Error(`there is no part ${name}; there are ${Object.keys(SETTINGS).join(', ')}`)
  tables.push(...(await { ...parts, agents, sharing }[name](SETTINGS[name])))
}

const text = markdown(tables, machine, { quick })
console.log(`\n${text}`)
if (process.env.BENCH_OUT !== '-') {
  const file = process.env.BENCH_OUT ?? path.join(import.meta.dirname, 'RESULTS.md')
  writeFileSync(file, text)
  console.log(`written to ${file}`)
}
