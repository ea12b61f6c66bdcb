/** A terminal of its own with a chat in it, by `script` of util-linux. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { root } from './pare_process.suite.ts'

const { stdout } = spawnSync('script', ['--version'], { encoding: 'utf8' })
/** Other systems have a `script` with other options, or none. */
export const hasTerminals = stdout?.includes('util-linux') ?? false

export const prompt = /> /
/** As a terminal sends what is pasted, where it was asked to mark it. */
export const paste = (text: string) => `\u001b[200~${text}\u001b[201~`

export class Terminal {
  /** All that was shown. */
  shown = ''
  private readonly child: ChildProcess
  private read = 0
  readonly ended: Promise<number | null>

  constructor(command: string, env: Readonly<Record<string, string>> = {}) {
    this.child = spawn('script', ['-qfec', command, '/dev/null'], {
      env: { ...process.env, PARE_THREADS: '2', NO_COLOR: '1', TERM: 'xterm', ...env },
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    this.child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.shown += text
    })
    this.ended = new Promise((resolve) => this.child.on('close', resolve))
  }

  type(keys: string): void {
    this.child.stdin!.write(keys)
  }

  /** Waits for what is not shown yet. */
  async until(pattern: RegExp): Promise<string> {
    const end = Date.now() + 30_000
    for (;;) {
      const found = pattern.exec(this.shown.slice(this.read))
      if (found) {
        const text = this.shown.slice(this.read, this.read + found.index + found[0].length)
        this.read += text.length
        return text
      }
      if (Date.now() > end) throw new Error(`no ${pattern} in ${JSON.stringify(this.shown.slice(this.read))}`)
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }
}

const words = (args: readonly string[]): string =>
  [process.execPath, join(root, 'bin/pare.js'), 'chat', ...args].map((word) => `'${word}'`).join(' ')

/** The command of a chat with pare-4m, for a shell. */
export const chatCommand = (args: readonly string[]): string =>
  words([join(root, 'experiments/models/pare-4m'), ...args])

export const chatTerminal = (args: readonly string[], env?: Readonly<Record<string, string>>): Terminal =>
  new Terminal(chatCommand(args), env)
