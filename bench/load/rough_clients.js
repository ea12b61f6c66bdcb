/** Clients that misbehave: what each kind does, once, and what the server must do then. */
import { connect } from 'node:net'
import { contentOf, streamed } from './event_client.js'

const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))

/** A connection that is written by hand: the status of the answer, if any, and when the server closed it. */
function raw(port, bytes) {
  const socket = connect(port, '127.0.0.1')
  let seen = ''
  const closed = new Promise((resolve) => socket.on('close', resolve))
  const status = new Promise((resolve) => {
    socket.on('data', (data) => {
      seen += data.toString('latin1')
      const found = /^HTTP\/1\.1 (\d+)/.exec(seen)
      if (found) resolve(Number(found[1]))
    })
    void closed.then(() => resolve(undefined))
  })
  socket.on('error', () => {})
  if (bytes.length > 0) socket.write(bytes)
  return { socket, status, closed }
}

/** Leaves in the middle of a stream, or while it waits for its beginning. */
async function vanish({ port, random, pick }) {
  const gone = new AbortController()
  const leave = () => gone.abort()
  const after = Math.floor(random() * 6)
  const timer = after === 0 ? setTimeout(leave, 500 * random()) : undefined
  const onEvent = (count) => count === after && leave()
  await streamed({ port, ...pick(), signal: gone.signal, onEvent }).catch(() => {})
  clearTimeout(timer)
  await wait(300 * random())
}

/** Sends one thing that is no request after another. */
async function sendGarbage({ port, garbage, note }) {
  for (const [name, bytes, wanted] of garbage) {
    const { socket, status } = raw(port, bytes)
    const found = await status
    note(found === wanted, `${name}: ${found} in place of ${wanted}`)
    socket.destroy()
    await wait(100)
  }
}

async function sendLarge({ port, large, next, note }) {
  const { name, path, body, status: wanted } = large[next() % large.length]
  // A connection of its own: one that is kept may be closed by the server as it is taken up again.
  const { status, text } = await streamed({ port, path, body, agent: false }).catch((error) => {
    throw new Error(`${name}: ${error.message}`)
  })
  note(status === wanted, `${name}: ${status} in place of ${wanted}, ${text.slice(0, 200)}`)
  await wait(1000)
}

/** Bytes after which a slow reader rests for a second, and milliseconds that it rests before it takes any. */
const [SIP, REST] = [500_000, 15_000]

/** Reads some megabytes with rests in which nothing is taken: all must come, and be the same. */
async function readSlowly({ port, wide, note }) {
  const onResponse = (response) => {
    let taken = 0
    response.on('data', (text) => {
      taken += text.length
      if (taken < SIP) return
      taken = 0
      response.pause()
      setTimeout(() => response.resume(), 1000)
    })
    response.pause()
    setTimeout(() => response.resume(), REST)
  }
  const { status, headers, events } = await streamed({ port, agent: false, ...wide.request, onResponse })
  if (status === 429) return wait(1000 * Number(headers['retry-after']))
  const { finished, content } = contentOf(events)
  note(finished && content === wide.content, `a slow reader got ${events.length} events, or other ones`)
  return wait(2000)
}

/** Milliseconds in which a reader who takes nothing is given up: a minute, and time in the queue before. */
const STALLED = 130_000

/** Asks for some megabytes and reads nothing: the server must end the connection. */
async function neverRead({ port, widest, note }) {
  let response
  const answer = streamed({
    port,
    agent: false,
    ...widest,
    onResponse: (given) => (response = given.pause()),
  })
  const ended = answer.then(
    ({ status, events }) => (status === 200 ? events.at(-1)?.data !== '[DONE]' : undefined),
    () => true,
  )
  await wait(STALLED)
  response?.resume()
  const cut = await ended
  if (cut !== undefined) note(cut, 'a reader that took nothing was not given up')
}

/** Opens a connection and says nothing, or half a head in drops: the server must close it. */
async function staySilent({ port, random, note }) {
  const half = random() < 0.5
  const { socket, closed } = raw(port, half ? 'POST /v1/completions HTTP/1.1\r\nX: ' : '')
  const drops = half ? setInterval(() => socket.write('a'), 500) : undefined
  const patience = wait(30_000).then(() => 'open')
  const end = await Promise.race([closed, patience])
  clearInterval(drops)
  socket.destroy()
  note(end !== 'open', `a connection that sent ${half ? 'half a head' : 'nothing'} was open after 30 s`)
}

/**
 * Kinds, with how many there are of each, and the seconds before the end in which no round is begun. Those that are `early`
 * have stopped reading before the others come.
 */
export const roughClients = [
  { kind: 'read slowly', count: 1, act: readSlowly, seconds: 30, early: true },
  { kind: 'read nothing', count: 1, act: neverRead, seconds: 140, early: true },
  { kind: 'vanish in a stream', count: 4, act: vanish, seconds: 1 },
  { kind: 'send garbage', count: 2, act: sendGarbage, seconds: 1 },
  { kind: 'send 10 MB', count: 1, act: sendLarge, seconds: 1 },
  { kind: 'say nothing', count: 4, act: staySilent, seconds: 15 },
]
