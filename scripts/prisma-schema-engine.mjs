#!/usr/bin/env node
// The Prisma CLI drives a native program, "schema-engine", which it would download at first use. This script takes
// that program's place (prisma.config.ts names it): it speaks the same protocol and hands every request to the
// official WebAssembly build of the same engine. Only developers need it; the service migrates with prisma/migrate.ts.
//
//   prisma-schema-engine.mjs --datasource '{"url":…}' --datamodels a.prisma …        JSON-RPC, one message a line
//   prisma-schema-engine.mjs --datasource … cli create-database | drop-database | can-connect-to-database
//
// A database is treated as the service's own runner treats it: roles.sql first, then everything as agentguard_owner.
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { PrismaPg } from '@prisma/adapter-pg'
import { ColumnTypeEnum, bindMigrationAwareSqlAdapterFactory } from '@prisma/driver-adapter-utils'
import pg from 'pg'

const OWNER = 'agentguard_owner'
const ROLES_SQL = new URL('../prisma/roles.sql', import.meta.url)

const CHAR = 18 // PostgreSQL's type "char", with the quotes
const TEXT = 25

const args = process.argv.slice(2)
if (args.includes('--version')) {
  console.log('schema-engine-cli wasm')
  process.exit(0)
}

const datasource = valuesOf('--datasource')[0]
const target = connectionOf(datasource ? JSON.parse(datasource).url : process.env.DATABASE_URL)
const command = args[args.indexOf('cli') + 1]
if (args.includes('cli')) await runCommand(command)
else await serve()

// ---- one-shot commands

/** @param {string} name */
async function runCommand(name) {
  try {
    if (name === 'can-connect-to-database') await query(target.database, 'SELECT 1')
    if (name === 'create-database') await createDatabase(target.database)
    if (name === 'drop-database') await dropDatabase(target.database)
  } catch (error) {
    const line = (level, fields) =>
      JSON.stringify({ level, fields, timestamp: new Date().toISOString(), target: 'schema_engine::logger' })
    const failure = { is_panic: false, error_code: prismaCodeOf(error), message: error.message }
    // The CLI skips the first line and takes each other for JSON, so there must be no newline at the end.
    process.stderr.write(`${line('INFO', { message: 'start' })}\n${line('ERROR', failure)}`)
    process.exitCode = 1
  }
}

function prismaCodeOf(error) {
  if (error.code === '3D000') return 'P1003' // no such database
  if (error.code === '28P01') return 'P1000' // wrong password
  return 'P1001' // not reachable
}

// ---- the engine

async function serve() {
  const engine = await startEngine()
  const methods = {
    getDatabaseVersion: (params) => engine.version(params),
    createDatabase: async () => {
      await createDatabase(target.database)
      return { databaseName: target.database }
    },
    // On its own this one cannot open a shadow database; it uses what devDiagnostic has left in the engine's cache,
    // which is gone when migrations were applied in between.
    evaluateDataLoss: async (params) => {
      await engine.devDiagnostic({ migrationsList: params.migrationsList, filters: params.filters })
      return engine.evaluateDataLoss(params)
    },
    // The engine's own reset empties the schemas it knows; ours has others ("ledger") and roles.
    reset: async () => {
      await emptyDatabase(target.database)
      return {}
    },
  }
  let lastPrintId = 0

  const answer = async ({ id, method, params }) => {
    try {
      const result = (await (methods[method] ?? engine[method].bind(engine))(params)) ?? {}
      // The native engine prints a diff by a request of its own, while it is answering.
      if (method === 'diff' && result.stdout != null) {
        lastPrintId -= 1
        send({ id: lastPrintId, method: 'print', params: { content: result.stdout } })
      }
      send({ id, result })
    } catch (error) {
      const { message = String(error), code: error_code = null, meta = null } = error
      const data = { is_panic: false, message, error_code, meta }
      send({
        id,
        error: { code: 4466, message: 'An error happened. Check the data field for details.', data },
      })
    }
  }

  const underWay = new Set()
  for await (const line of createInterface({ input: process.stdin })) {
    const message = line.trim() === '' ? {} : JSON.parse(line)
    if (!message.method) continue // an answer to our print
    const job = answer(message).finally(() => underWay.delete(job))
    underWay.add(job)
  }
  await Promise.all(underWay)
  process.exit(0)
}

function send(message) {
  process.stdout.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`)
}

async function startEngine() {
  // The package's entry point loads its WebAssembly in a way that only bundlers understand: do that part by hand.
  const bindings = await import('@prisma/schema-engine-wasm/schema_engine_bg')
  const entryPoint = createRequire(import.meta.url).resolve('@prisma/schema-engine-wasm')
  const wasm = readFileSync(path.join(path.dirname(entryPoint), 'schema_engine_bg.wasm'))
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(wasm), {
    './schema_engine_bg.js': bindings,
  })
  bindings.__wbg_set_wasm(exports)
  // Without it every panic is reported as "Cannot read properties of undefined (reading 'set_message')".
  globalThis.PRISMA_WASM_PANIC_REGISTRY = { set_message: (message) => console.error(message) }
  exports.__wbindgen_start?.()

  const files = valuesOf('--datamodels')
  const datamodels = files.length > 0 ? files.map((file) => [file, readFileSync(file, 'utf8')]) : undefined
  const { provider, adapterName } = new PrismaPg({})
  const factory = { provider, adapterName, connect: connectToTarget, connectToShadowDb }
  return bindings.SchemaEngine.new({ datamodels }, () => {}, bindMigrationAwareSqlAdapterFactory(factory))
}

async function connectToTarget() {
  const [state] = await query(
    target.database,
    `SELECT has_database_privilege(oid, current_database(), 'CREATE') AS ready FROM pg_roles WHERE rolname = '${OWNER}'`,
  )
  if (!state?.ready) await prepareDatabase(target.database)
  return openAdapter(target.database)
}

/**
 * The adapter's own version connects to the real database when it was given a connection string (and would run every
 * migration there), and drops the shadow database while it is still connected to it.
 */
async function connectToShadowDb() {
  const database = `prisma_shadow_${randomUUID()}`
  await createDatabase(database)
  const adapter = await openAdapter(database)
  const close = adapter.dispose.bind(adapter)
  adapter.dispose = async () => {
    await close()
    await dropDatabase(database)
  }
  return adapter
}

/** The pg adapter of Prisma 7.10, with two of its methods mended for what migrations need. */
async function openAdapter(database) {
  const adapter = await new PrismaPg({ ...target, database, options: `-c role=${OWNER}` }).connect()

  // It splits a script at every semicolon, also inside of function bodies. The server takes a whole script.
  adapter.executeScript = async (script) => {
    await adapter
      .underlyingDriver()
      .query(script)
      .catch((error) => adapter.onError(error))
  }

  // It does not know the type "char", which the catalogs use: read it as text, then say what it was.
  const charColumns = new WeakMap()
  const { performIO, queryRaw } = adapter
  adapter.performIO = async (statement) => {
    const result = await performIO.call(adapter, statement)
    const found = []
    for (const [index, field] of (result.fields ?? []).entries()) {
      if (field.dataTypeID !== CHAR) continue
      field.dataTypeID = TEXT
      found.push(index)
    }
    charColumns.set(statement, found)
    return result
  }
  adapter.queryRaw = async (statement) => {
    const result = await queryRaw.call(adapter, statement)
    for (const index of charColumns.get(statement) ?? []) result.columnTypes[index] = ColumnTypeEnum.Character
    return result
  }
  return adapter
}

// ---- databases

async function createDatabase(name) {
  await query('postgres', `CREATE DATABASE ${pg.escapeIdentifier(name)}`)
  await prepareDatabase(name)
}

async function dropDatabase(name) {
  await query('postgres', `DROP DATABASE IF EXISTS ${pg.escapeIdentifier(name)} WITH (FORCE)`)
}

/** As PostgreSQL makes a new database, then prepared; without dropping it, because the engine is connected. */
async function emptyDatabase(name) {
  const schemas = await query(
    name,
    `SELECT nspname AS schema FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'`,
  )
  for (const { schema } of schemas) await query(name, `DROP SCHEMA ${pg.escapeIdentifier(schema)} CASCADE`)
  await query(name, 'CREATE SCHEMA public AUTHORIZATION pg_database_owner')
  await query(name, 'GRANT USAGE ON SCHEMA public TO PUBLIC')
  await prepareDatabase(name)
}

async function prepareDatabase(name) {
  await query(name, readFileSync(ROLES_SQL, 'utf8'))
}

async function query(database, sql) {
  const client = new pg.Client({ ...target, database })
  await client.connect()
  try {
    return (await client.query(sql)).rows
  } finally {
    await client.end()
  }
}

/** The parts of a connection URL; taken apart because one server's several databases are needed. */
function connectionOf(url) {
  const { host, port, user, password, database, ssl } = new pg.Client({ connectionString: url })
  return { host, port, user, password, database, ssl }
}

// ---- arguments

/** What follows a flag, up to the next flag or command. */
function valuesOf(flag) {
  const start = args.indexOf(flag)
  if (start < 0) return []
  const rest = args.slice(start + 1)
  const end = rest.findIndex((value) => value.startsWith('--') || value === 'cli')
  return end < 0 ? rest : rest.slice(0, end)
}
