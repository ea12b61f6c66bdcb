/** `--max-memory`: a hard limit that changes no weight. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { briefly, jsonError, pare, temporaryFolder } from './pare_process.suite.ts'
import { writeTinyGguf } from './tiny_model.suite.ts'

const folder = temporaryFolder()
const model = join(folder, 'tiny.gguf')
beforeAll(() => void writeTinyGguf(model))

const compress = (name: string, args: readonly string[]) =>
  pare(['compress', model, ...briefly, ...args, '--output', join(folder, name), '--json'])
const weights = (name: string) => {
  const file = readdirSync(join(folder, name)).find((each) => /\.(gguf|safetensors)$/.test(each))!
  return readFileSync(join(folder, name, file))
}

test('a run that cannot keep to it ends with exit code 5 before anything is written, and what it asks for suffices', () => {
  const target = ['--target', 'gguf', '--scheme', 'Q8_0']
  const refused = compress('refused', [...target, '--max-memory', '50MB'])
  expect(refused.code).toBe(5)
  const { code, message, facts } = jsonError(refused)
  expect([code, facts.maxMemory]).toEqual(['PARE_E_MEMORY', 50e6])
  expect(message).toMatch(/^--max-memory: this run needs at least \d+ MB .*, got 50 MB; /)
  expect(existsSync(join(folder, 'refused'))).toBe(false)
  const enough = compress('enough', [...target, '--max-memory', `${facts.needed}B`])
  expect(enough.code, enough.stderr).toBe(0)
  const report = JSON.parse(enough.stdout)
  expect(report.maxMemoryBytes).toBe(facts.needed)
  expect(report.peakMemoryBytes).toBeLessThanOrEqual(report.maxMemoryBytes)
  expect(report.command).toContain('--max-memory')
  expect(compress('free', target).code).toBe(0)
  expect(weights('enough').equals(weights('free'))).toBe(true)
})
test('the plan tells the bound with its parts, and why a run would be refused', () => {
  const plan = (...args: string[]) => JSON.parse(pare(['plan', model, ...args, '--json']).stdout)
  const { peakMemoryBytes, memory, notes } = plan('--max-memory', '50MB')
  expect(peakMemoryBytes).toBeGreaterThan(50e6)
  expect(notes).toContainEqual(expect.stringMatching(/^--max-memory: this run needs at least /))
  const sums = memory.map(({ parts }: { parts: { bytes: number }[] }) =>
    parts.reduce((sum, { bytes }) => sum + bytes, 0),
  )
  expect(memory.map(({ bytes }: { bytes: number }) => bytes)).toEqual(sums)
  expect(Math.max(...sums)).toBe(peakMemoryBytes)
  expect(plan().notes.join()).not.toContain('--max-memory')
  expect(pare(['plan', model]).stdout).toMatch(/^ {2}memory {2}at most \d+\.\d MB, to /m)
})
test('a mix is measured below it to the same weights, or refused at the start with what it needs', () => {
  const run = (name: string, home: string, ...args: string[]) => {
    const mix = ['--target-bpw', '6', '--sensitivity-windows', '1', '--method', 'rtn', '--embedding', 'Q8_0']
    return pare(
      [
        'compress',
        model,
        ...briefly,
        ...mix,
        '--no-evaluate',
        ...args,
        '--output',
        join(folder, name),
        '--json',
      ],
      { env: { PARE_HOME: join(folder, home) } },
    )
  }
  const free = run('mix-free', 'home-free')
  expect(free.code, free.stderr).toBe(0)
  const refused = run('mix-refused', 'home', '--max-memory', '50MB')
  expect(refused.code).toBe(5)
  const { code, facts } = jsonError(refused)
  expect(code).toBe('PARE_E_MEMORY')
  expect(existsSync(join(folder, 'mix-refused'))).toBe(false)
  const enough = run('mix-enough', 'home', '--max-memory', `${facts.needed}B`)
  expect(enough.code, enough.stderr).toBe(0)
  const { peakMemoryBytes } = JSON.parse(enough.stdout)
  expect(peakMemoryBytes).toBeLessThanOrEqual(facts.needed as number)
  expect(weights('mix-enough').equals(weights('mix-free'))).toBe(true)
})
test('a size is needed', () => {
  const { code, stderr } = compress('size', ['--max-memory', '2 giga'])
  expect(code).toBe(2)
  expect(stderr).toMatch(/--max-memory.*A size is needed/)
})
test('an unfinished run goes on with another limit, since weights do not depend on it', () => {
  const args = ['--bits', '3', '--no-evaluate']
  expect(compress('again', [...args, '--max-memory', '2GB']).code).toBe(0)
  const before = weights('again')
  const { code, stderr } = compress('again', [...args, '--max-memory', '3GB'])
  expect(code, stderr).toBe(0)
  expect(stderr).toContain('the output holds this very run, finished')
  expect(weights('again').equals(before)).toBe(true)
})
