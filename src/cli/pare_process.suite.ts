/** Runs `bin/pare.js` as a user does: as a process of its own, over a dist/ that fits the sources. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll } from 'vitest'

export const root = fileURLToPath(new URL('../../', import.meta.url))
const program = join(root, 'bin', 'pare.js')

/** Compiles what is not fresh; `npm test` has done it before. */
const built = spawnSync(process.execPath, [join(root, 'native', 'prepare.js'), 'typescript'], {
  encoding: 'utf8',
})
if (built.status !== 0)
  throw new Error(`dist/ is not fresh and does not compile:\n${built.stdout}${built.stderr}`)

export interface Outcome {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}

export interface ProcessOptions {
  env?: Readonly<Record<string, string>>
  cwd?: string
  /** Another copy of Pare. */
  program?: string
  /** Runs as this user; for root only. */
  uid?: number
}

/** Two threads are enough for tiny models, and results do not depend on them. */
const environment = (env: ProcessOptions['env']) => ({
  ...process.env,
  PARE_THREADS: '2',
  NO_COLOR: '1',
  ...env,
})

/** Runs a command to its end. */
export function pare(
  args: readonly string[],
  { env, cwd, uid, program: other = program }: ProcessOptions = {},
): Outcome {
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [other, ...args], {
    encoding: 'utf8',
    env: environment(env),
    timeout: 100_000,
    maxBuffer: 2 ** 28,
    ...(cwd === undefined ? {} : { cwd }),
    ...(uid === undefined ? {} : { uid }),
  })
  return { code: status, signal, stdout, stderr }
}

/** The error that `--json` put on stderr, in the last line. */
export function jsonError({ stderr }: Outcome): {
  code: string
  message: string
  exitCode: number
  facts: Record<string, unknown>
} {
  return JSON.parse(stderr.trim().split('\n').at(-1)!).error
}

/** Starts a command; `outcome` comes when it ends. */
export function startPare(
  args: readonly string[],
  options: ProcessOptions = {},
): { child: ChildProcess; outcome: Promise<Outcome> } {
  const child = spawn(process.execPath, [program, ...args], {
    env: environment(options.env),
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let [stdout, stderr] = ['', '']
  child.stdout!.on('data', (text) => {
    stdout += text
  })
  child.stderr!.on('data', (text) => {
    stderr += text
  })
  const outcome = new Promise<Outcome>((resolve) =>
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr })),
  )
  return { child, outcome }
}

/** A folder that goes when the tests of the file are done. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'pare-test-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** Short runs for tiny models, without a second one to compare with. */
export const briefly = [
  '--samples',
  '4',
  '--length',
  '32',
  '--context',
  '32',
  '--windows',
  '2',
  '--no-baselines',
]
