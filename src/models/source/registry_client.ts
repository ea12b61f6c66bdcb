/**
 * Runs a registry's installed client (pip, npm) without a shell. The client works in a folder of its own, so
 * that neither the user's current folder nor a project's settings there can reach it.
 */
import { spawn } from 'node:child_process'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { AbortError, printable, SourceError } from '../../tensor/errors.ts'
import { stopIfAborted } from './abort.ts'

export interface ClientCall {
  /** Commands to try in this order, each a program with its first arguments. */
  commands: readonly (readonly string[])[]
  arguments: readonly string[]
  /** Working folder, also for the client's temporary files; the caller removes it. */
  folder: string
  environment: NodeJS.ProcessEnv
  signal?: AbortSignal | undefined
  /** Called about once a second with the bytes that stand in the folder. */
  progress?: (bytes: number) => void
  /** What is fetched, for messages. */
  subject: string
  /** What to do if no client is there. */
  install: string
}
interface Ended {
  code: number
  output: string
}

/** Bytes kept of a client's output: its end says why it failed. */
const outputBytes = 64 * 1024
/** A Python without pip; Windows' placeholder for a Python. */
const missingPip = /No module named pip\b|Python was not found/
/** Milliseconds between the polite and the final signal. */
const patience = 3000

/**
 * Runs the first command that exists.
 *
 * @throws SourceError `PARE_E_SOURCE_CLIENT` if none exists, `PARE_E_SOURCE_NOT_FOUND` if the registry has no
 *   such package, `PARE_E_SOURCE_FETCH` if the client fails otherwise; AbortError once the client has ended.
 */
export async function runClient(call: ClientCall): Promise<void> {
  for (const [program, ...first] of call.commands) {
    stopIfAborted(call.signal)
    const ended = await run(program!, [...first, ...call.arguments], call)
    stopIfAborted(call.signal)
    if (ended === undefined || missingPip.test(ended.output)) continue
    if (ended.code === 0) return
    throw failed(call, ended)
  }
  const tried = call.commands.map((command) => command.join(' ')).join(', ')
  throw new SourceError(
    `${call.subject}: a registry client is needed, none runs (${printable(tried)}); ${call.install}`,
    {
      code: 'PARE_E_SOURCE_CLIENT',
      facts: { source: call.subject, tried: call.commands.map((command) => printable(command.join(' '))) },
    },
  )
}

/** Ends with the program's exit code and output, or undefined if there is no such program. */
function run(program: string, parameters: string[], call: ClientCall): Promise<Ended | undefined> {
  const { folder, environment, signal } = call
  const isScript = /\.[cm]?js$/.test(program)
  const child = spawn(
    isScript ? process.execPath : program,
    isScript ? [program, ...parameters] : parameters,
    {
      cwd: folder,
      env: { ...environment, TMPDIR: folder, TMP: folder, TEMP: folder },
      stdio: ['ignore', 'pipe', 'pipe'],
      shell: false,
      windowsHide: true,
    },
  )
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8')
    stream.on('data', (text: string) => {
      output = (output + text).slice(-outputBytes)
    })
  }
  let last: NodeJS.Timeout | undefined
  const stop = () => {
    child.kill('SIGTERM')
    last = setTimeout(() => child.kill('SIGKILL'), patience)
  }
  const ticker = setInterval(
    () => void folderBytes(folder).then((bytes) => bytes > 0 && call.progress?.(bytes)),
    1000,
  )
  signal?.addEventListener('abort', stop, { once: true })
  return new Promise<Ended | undefined>((resolve, reject) => {
    child.once('error', (error: NodeJS.ErrnoException) => {
      if (['ENOENT', 'EACCES', 'ENOTDIR', 'EINVAL'].includes(error.code ?? '')) resolve(undefined)
      else reject(error)
    })
    // 'close' waits for the whole output; after a kill, a grandchild could hold it open for ever.
    child.once('close', (code) => resolve({ code: code ?? 1, output }))
    child.once('exit', () => {
      if (!signal?.aborted) return
      child.stdout.destroy()
      child.stderr.destroy()
      reject(new AbortError(undefined, { cause: signal.reason }))
    })
  }).finally(() => {
    clearInterval(ticker)
    clearTimeout(last)
    signal?.removeEventListener('abort', stop)
  })
}

function failed({ subject, commands }: ClientCall, { code, output }: Ended): SourceError {
  const reasons = output
    .split(/\r?\n/)
    .filter((line) => /^(?:ERROR:|npm (?:error|ERR!)) /.test(line))
    .map((line) =>
      withoutSecrets(line.replace(/^(?:ERROR:|npm (?:error|ERR!))\s+(?:(?:404|notarget)\s+)?/, '')),
    )
    .filter((line) => !/complete log of this run|^code /.test(line))
  const reason = printable(
    reasons.slice(0, 2).join(' ') || withoutSecrets(output.trim().split('\n').at(-1) ?? ''),
    400,
  )
  const facts = { source: subject, client: printable(commands[0]!.join(' ')), exitCode: code, reason }
  // Without a connection pip finds no versions either.
  const isCut = /Retrying \(|ConnectionError|ProxyError|SSLError|ReadTimeout/.test(output)
  if (!isCut && /\bE404\b|\bETARGET\b|No matching distribution|Could not find a version/.test(output)) {
    return new SourceError(
      `${subject}: the registry has no such version, or none that fits this machine (${reason}); check name and version`,
      { code: 'PARE_E_SOURCE_NOT_FOUND', facts },
    )
  }
  return new SourceError(
    `${subject}: the registry client must end with 0, it ended with ${code} (${reason}); check the network and the client's settings, then run again`,
    { code: 'PARE_E_SOURCE_FETCH', facts },
  )
}

/** Addresses may carry a user and a password. */
const withoutSecrets = (text: string): string => text.replace(/\/\/[^/\s@]+@/g, '//***@')

async function folderBytes(folder: string): Promise<number> {
  let bytes = 0
  for (const name of await readdir(folder, { recursive: true }).catch(() => [])) {
    const found = await stat(join(folder, name)).catch(() => undefined)
    if (found?.isFile()) bytes += found.size
  }
  return bytes
}
