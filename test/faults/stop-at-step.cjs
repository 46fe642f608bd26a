// Loaded with --require into the real service: at the step that the file STEP_FILE names, the whole process stands
// still, writes the step to STEP_REACHED, and waits to be killed. Every note that was signed goes to SIGNED_NOTES at
// once, published or not: a signature that exists may have left. FORGETFUL=true is the control: what was signed is
// remembered in the process, and not on disk.
const fs = require('node:fs')
const path = require('node:path')
const { AGENTGUARD_BUILD, STEP_FILE, STEP_REACHED, SIGNED_NOTES, FORGETFUL } = process.env
const load = (file) => require(path.join(AGENTGUARD_BUILD, 'src', 'ledger', file))

function at(step) {
  if (!fs.existsSync(STEP_FILE) || fs.readFileSync(STEP_FILE, 'utf8') !== step) return
  fs.writeFileSync(STEP_REACHED, step)
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
}

const trees = load('trees.queries.js')
const { integrate } = trees
trees.integrate = async (...given) => {
  const result = await integrate(...given)
  at('integrating') // written, and not committed
  return result
}
load('tree.worker.js').TreeWorker.prototype.step = () => at('integrated')
load('sign.worker.js').SignWorker.prototype.at = at

const signing = load('signing.js')
const { signCheckpoint } = signing
signing.signCheckpoint = (...given) => {
  const note = signCheckpoint(...given)
  fs.appendFileSync(SIGNED_NOTES, `${JSON.stringify(note)}\n`)
  return note
}

const { SignerMemory } = load('signer-memory.js')
const { remember } = SignerMemory.prototype
SignerMemory.prototype.remember = async function (signed) {
  if (FORGETFUL === 'true') {
    for (const log of signed) this.logs.set(log.origin, log)
    return
  }
  if (fs.existsSync(STEP_FILE) && fs.readFileSync(STEP_FILE, 'utf8') === 'remembering') {
    fs.appendFileSync(path.join(this.dir, 'signed.jsonl'), JSON.stringify(signed[0]).slice(0, 30))
    at('remembering') // in the middle of the line
  }
  return remember.call(this, signed)
}

const checkpoints = load('checkpoints.queries.js')
const { publish } = checkpoints
checkpoints.publish = (...given) => {
  const published = publish(...given)
  // The statement is on its way to PostgreSQL, and nobody waits for its answer.
  setImmediate(() => at('publishing'))
  return published
}
