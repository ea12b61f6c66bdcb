/** Ctrl-C at any moment: exit code 130, no result, and at most what the same command goes on with. */
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { type Outcome, startPare, temporaryFolder } from './pare_process.suite.ts'
import { writeTinyGguf } from './tiny_model.suite.ts'

const folder = temporaryFolder()
const model = join(folder, 'wide.gguf')
beforeAll(() => {
  writeTinyGguf(model, { hidden: 256 })
})

/** Long enough to be stopped in every phase. */
const slowly = ['--samples', '60', '--length', '128', '--context', '128', '--windows', '60']
const compress = (output: string) => ['compress', model, '--target', 'gguf', ...slowly, '--output', output]

/** Sends a signal as soon as stderr holds `word`. */
async function stopAt(word: string, output: string, signal: NodeJS.Signals = 'SIGINT'): Promise<Outcome> {
  const { child, outcome } = startPare(compress(output))
  let seen = ''
  child.stderr!.on('data', (text) => {
    if (seen.includes(word)) return
    seen += text
    if (seen.includes(word)) child.kill(signal)
  })
  return outcome
}
function expectNoResult(output: string): void {
  if (existsSync(output)) {
    expect(readdirSync(output)).toEqual(['.pare'])
    rmSync(output, { recursive: true })
  }
  expect(readdirSync(folder)).toEqual(['wide.gguf'])
}

test.each(['plan ', 'compressing', 'writing', 'evaluating'])(
  'SIGINT while stderr says "%s" ends with 130 and leaves no result',
  async (word) => {
    const output = join(folder, 'stopped')
    const { code, stdout, stderr } = await stopAt(word, output)
    expect([code, stdout]).toEqual([130, ''])
    expect(stderr).toMatch(/PARE_E_ABORTED/)
    expectNoResult(output)
  },
)
test('SIGTERM is heard like SIGINT', async () => {
  const output = join(folder, 'terminated')
  expect((await stopAt('compressing', output, 'SIGTERM')).code).toBe(130)
  expectNoResult(output)
})
test.each([10, 60, 150, 300, 600, 1000])(
  'SIGINT %i ms after the start ends with 130 and leaves no result',
  async (delay) => {
    const output = join(folder, `after${delay}`)
    const { child, outcome } = startPare(compress(output))
    await new Promise((resolve) => setTimeout(resolve, delay))
    child.kill('SIGINT')
    const { code, signal, stdout } = await outcome
    // Before Node runs its first line the system ends the process by the signal, which a shell shows as 130 too.
    expect([130, 'SIGINT']).toContain(code ?? signal)
    expect(stdout).toBe('')
    expectNoResult(output)
  },
)
test('the first SIGINT says that a second one ends at once, and it does', async () => {
  const output = join(folder, 'twice')
  const { child, outcome } = startPare(compress(output))
  let [seen, asked, ended] = ['', 0, 0]
  child.stderr!.on('data', (text) => {
    seen += text
    if (asked === 0 && seen.includes('compressing')) {
      asked = performance.now()
      child.kill('SIGINT')
    } else if (asked > 0 && seen.includes('once more to end at once')) child.kill('SIGINT')
  })
  child.on('exit', () => {
    ended = performance.now()
  })
  const { code, signal } = await outcome
  // The second one ends the process by the signal, which a shell shows as 130.
  expect([130, 'SIGINT']).toContain(code ?? signal)
  // The whole run takes many times as long.
  expect(ended - asked).toBeLessThan(5000)
  expectNoResult(output)
})
test.skipIf(process.platform === 'win32')(
  'a second signal ends a run that waits for a pipe that nobody writes to',
  async () => {
    const [output, pipe] = [join(folder, 'waits'), join(temporaryFolder(), 'pipe')]
    expect(spawnSync('mkfifo', [pipe]).status).toBe(0)
    const { child, outcome } = startPare([...compress(output), '--calib', pipe])
    let seen = ''
    child.stderr!.on('data', (text) => {
      const before = seen
      seen += text
      for (const word of ['plan', 'once more to end at once'])
        if (seen.includes(word) && !before.includes(word)) setTimeout(() => child.kill('SIGTERM'), 300)
    })
    const { code, signal } = await outcome
    expect([130, 'SIGINT']).toContain(code ?? signal)
    expectNoResult(output)
  },
)
test('a killed run goes on with the same command, and leaves its result alone', async () => {
  const output = join(folder, 'killed')
  expect((await stopAt('compressing', output, 'SIGKILL')).signal).toBe('SIGKILL')
  expect(readdirSync(output)).toEqual(['.pare'])
  const { code, stderr } = await startPare(compress(output)).outcome
  expect(code, stderr).toBe(0)
  expect(readdirSync(output)).toContain('report.json')
  expect(readdirSync(output)).not.toContain('.pare')
  rmSync(output, { recursive: true })
})
test('an evaluation is stopped too', async () => {
  const { child, outcome } = startPare(['eval', model, '--context', '128', '--windows', '100'])
  child.stderr!.on('data', (text) => {
    if (String(text).includes('evaluating')) child.kill('SIGINT')
  })
  const { code, stdout } = await outcome
  expect([code, stdout]).toEqual([130, ''])
})
