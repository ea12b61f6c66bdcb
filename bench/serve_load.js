/**
 * A load on `pare serve`: clients that stream all the time, and beside them some that vanish, send garbage or 10 MB, read
 * slowly or not at all, or say nothing.
 *
 *   node bench/serve_load.js [--seconds 300] [--clients 64] [--model experiments/models/pare-4m]
 *
 * Each request is asked alone first; under load its stream must have the same bytes, but for id and time. Prints a table of
 * times and memory, what was checked, and `N passed, N failed`. No time decides whether a check holds, but those after
 * which the server gives up silent connections and readers. Memory is read where there is a /proc.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { Agent } from 'node:http'
import { cpus, tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from '../.ci/arguments.js'
import { randomSeries } from '../.ci/pare_process.js'
import { instructionSet, threads } from '../dist/tensor/index.js'
import { contentOf, streamed } from './load/event_client.js'
import { Checks, timesRow } from './load/figures.js'
import { garbage, largeBodies } from './load/hostile_bodies.js'
import { loadRequests, template, wideRequest } from './load/load_requests.js'
import { roughClients } from './load/rough_clients.js'
import { startServer } from './load/served_process.js'

/** Megabytes that the resident memory may grow beyond its peak in the first fifth of the time. */
const GROWTH = 128
/** Requests of the client that was served most, over those of the one that was served least, at most. */
const UNFAIR = 3

const { values: flags } = parseArgs({
  options: {
    seconds: { type: 'string', default: '300' },
    clients: { type: 'string', default: '64' },
    model: { type: 'string', default: 'experiments/models/pare-4m' },
  },
})
const seconds = Number(flags.seconds)
const clients = Number(flags.clients)
const checks = new Checks()
const random = randomSeries(1)
const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))
const say = (text) => process.stderr.write(`${text}\n`)

const work = mkdtempSync(join(tmpdir(), 'pare-load-'))
writeFileSync(join(work, 'template.jinja'), template)
const server = await startServer([flags.model, '--chat-template', join(work, 'template.jinja')])
process.on('exit', () => rmSync(work, { recursive: true, force: true }))
const { port, model } = server

let begun
/** The largest resident memory in each fifth of the time; what comes before counts to the first. */
const memory = Array(5).fill(0)
const sampling = setInterval(() => {
  const part = begun === undefined ? 0 : Math.floor((performance.now() - begun) / (200 * seconds))
  memory[Math.min(part, 4)] = Math.max(memory[Math.min(part, 4)], server.residentBytes() ?? 0)
}, 100)

/** Asks alone, before there is any load. */
async function withContent(request) {
  const { status, text, events } = await streamed({ port, ...request })
  const { finished, content } = contentOf(events)
  if (status !== 200 || !finished) throw new Error(`${request.body.slice(0, 200)}: ${status} ${text}`)
  return { request, content }
}
const requests = []
for (const request of loadRequests(model, clients)) requests.push(await withContent(request))
const wide = await withContent(wideRequest(model, 16))
const large = largeBodies(model)
for (const { path, body } of large) await streamed({ port, path, body }).catch(() => {})
say(`${requests.length} requests were asked alone, and ${large.length} of 10 MB`)

const over = (before = 0) => performance.now() > (begun ?? performance.now()) + 1000 * (seconds - before)
const [firstTokens, waits, gaps, healths] = [[], [], [], []]
const ids = new Set()
let [tokens, refusals] = [0, 0]

/** One request until it is served; refusals are tried again when the server says so. */
async function serveOne(agent, { request, content }) {
  const asked = performance.now()
  for (;;) {
    const sent = performance.now()
    const { status, headers, events, text } = await streamed({ port, agent, ...request })
    if (status === 429) {
      refusals += 1
      const after = Number(headers['retry-after'])
      checks.note('refusals say when to try again', after > 0, `Retry-After: ${headers['retry-after']}`)
      await wait(1000 * after)
      continue
    }
    checks.note('requests are answered', status === 200, `${status} ${text}`)
    if (status !== 200) return
    const found = contentOf(events)
    checks.note('streams have the bytes that they have alone', found.content === content, request.body)
    checks.note('streams end with a reason and [DONE]', found.finished, request.body)
    const own = found.ids.length === 1 && !ids.has(found.ids[0])
    checks.note('each stream has one id of its own', own, found.ids.join())
    ids.add(found.ids[0])
    firstTokens.push(events[0].at - sent)
    waits.push(events[0].at - asked)
    tokens += events.length
    for (let i = 1; i < events.length - 1; i++) gaps.push(events[i].at - events[i - 1].at)
    return
  }
}

async function client(index) {
  const agent = new Agent({ keepAlive: true })
  let served = 0
  try {
    for (; !over(); served++) await serveOne(agent, requests[(index + 5 * served) % requests.length])
  } catch (error) {
    checks.note('requests are answered', false, `client ${index}: ${error.message}`)
  }
  agent.destroy()
  return served
}

let turn = 0
async function rough({ kind, act, seconds: before }) {
  const name = `clients that ${kind}`
  const context = {
    port,
    random,
    pick: () => requests[Math.floor(random() * requests.length)].request,
    garbage: garbage(model, random),
    large,
    wide,
    widest: wideRequest(model, 32),
    next: () => turn++,
    note: (held, fault) => checks.note(name, held, fault),
  }
  while (!over(before))
    await act(context).catch((error) => checks.note(name, false, `${error.code} ${error.message}`))
}

async function get(path) {
  const response = await fetch(`http://127.0.0.1:${port}${path}`)
  return { status: response.status, text: await response.text() }
}
async function watchHealth() {
  for (; !over(); await wait(100)) {
    const sent = performance.now()
    const { status } = await get('/health').catch((error) => ({ status: error.message }))
    checks.note('/health answers', status === 200, String(status))
    healths.push(performance.now() - sent)
  }
}

const crowd = (early) =>
  roughClients
    .filter((each) => (each.early ?? false) === early)
    .flatMap((each) => Array.from({ length: each.count }, () => rough(each)))

/** Until texts write nothing more: their readers have taken nothing, and the connections are full. */
async function standstill() {
  let written = ''
  for (let i = 0; i < 30; i++, await wait(1000)) {
    const before = written
    written = /^pare_generated_tokens_total .*$/m.exec((await get('/metrics')).text)[0]
    if (i > 2 && written === before) return
  }
}

const early = crowd(true)
await standstill()
begun = performance.now()
const [served] = await Promise.all([
  Promise.all(Array.from({ length: clients }, (_, index) => client(index))),
  watchHealth(),
  ...crowd(false),
  ...early,
])
const took = (performance.now() - begun) / 1000
clearInterval(sampling)

const least = Math.min(...served)
const most = Math.max(...served)
checks.note('queueing is fair', most <= UNFAIR * least, `${least} to ${most} requests were served`)
const grown = (Math.max(...memory.slice(1)) - memory[0]) / 1e6
if (memory[0] > 0) checks.note('memory is bounded', grown <= GROWTH, `grew by ${grown.toFixed(0)} MB`)

/** The last text may end a moment after its reader is gone. */
async function idle() {
  for (let i = 0; i < 50; i++, await wait(200)) {
    const { text } = await get('/metrics')
    if (/^pare_texts_running 0$/m.test(text) && /^pare_texts_waiting 0$/m.test(text)) return true
  }
  return false
}
checks.note('nothing runs or waits at the end', await idle(), 'a text runs or waits still')
const { code, signal, printed } = await server.stop(30_000)
const clean = code === 143 && printed.trim() === 'stopping; once more to end at once'
checks.note('SIGTERM ends the server', clean, `exit ${code ?? signal}: ${printed}`)

const megabytes = (bytes) => (bytes / 1e6).toFixed(0)
const gigabytes = Math.round(totalmem() / 2 ** 30)
const lines = [
  `${cpus()[0].model.trim()}, ${cpus().length} cores, ${gigabytes} GiB, ${instructionSet()}, Node ${process.versions.node}, ${process.platform}-${process.arch}; ${threads()} threads`,
  '',
  '| milliseconds | readings | median | 95% | 99% | most |',
  '| --- | --- | --- | --- | --- | --- |',
  timesRow('between tokens', gaps),
  timesRow('to the first token, in the queue', firstTokens),
  timesRow('to the first token, refusals included', waits),
  timesRow('`/health`', healths),
  '',
  '| beside it | |',
  '| --- | --- |',
  `| clients, seconds | ${clients}, ${took.toFixed(0)} |`,
  `| streams, events a second | ${ids.size}, ${(tokens / took).toFixed(0)} |`,
  `| requests of the clients served least and most | ${least} and ${most} |`,
  `| refusals with 429 | ${refusals} |`,
  `| peak of the resident memory in each fifth of the time, MB | ${memory.map(megabytes).join(', ')} |`,
  '',
  ...checks.lines(),
  '',
  `${checks.passed} passed, ${checks.failed} failed`,
]
process.stdout.write(`${lines.join('\n')}\n`)
process.exitCode = checks.failed === 0 ? 0 : 1
