/**
 * Whole models under damage: a GGUF file and a folder are cut and get bits flipped, and are then listed, opened,
 * tokenised with and run once. Each ends in a result or a typed error, in bounded time and memory. Seeds are fixed.
 */
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { numbersBelow } from '../formats/mulberry32.suite.ts'
import { openLanguageModel } from '../models/load_model.ts'
import { inspect } from '../run/inspect.ts'
import { PareError } from '../tensor/errors.ts'
import { scope } from '../tensor/index.ts'
import { pare, temporaryFolder } from './pare_process.suite.ts'
import { writeTinyFolder, writeTinyGguf } from './tiny_model.suite.ts'

const CASES = Number(process.env.PARE_FUZZ_CASES ?? 300)
/** Far above the models of 0.2 MB, far below what their damaged headers promise. */
const LIMIT = 256 * 2 ** 20

const folder = temporaryFolder()
const original = join(folder, 'tiny.gguf')
const originalFolder = join(folder, 'hf')
beforeAll(() => {
  writeTinyGguf(original)
  writeTinyFolder(originalFolder)
})

/** Most damage goes to the first `head` bytes, where the structure is. */
function damage(bytes: Uint8Array, head: number, below: (n: number) => number): Uint8Array {
  const result = Uint8Array.from(bytes.subarray(0, below(5) === 0 ? below(bytes.length + 1) : bytes.length))
  if (result.length === 0) return result
  const place = () => below(Math.min(result.length, below(4) === 0 ? bytes.length : head))
  for (let flips = below(6); flips > 0; flips--) result[place()]! ^= 1 << below(8)
  if (below(4) === 0) {
    const start = place()
    result.fill([0xff, 0x7f, 0x00][below(3)]!, start, Math.min(start + 8, result.length))
  }
  return result
}

/** Lists, opens, tokenises and runs; returns what stopped it. */
function use(path: string): PareError | undefined {
  try {
    inspect(path)
    const opened = openLanguageModel(path)
    try {
      const { vocabulary } = opened.model.config
      scope(() => {
        const ids = Uint32Array.of(1, 5, 9).map((id) => Math.min(id, vocabulary - 1))
        opened.model.load().forward(ids).toArray()
      })
      const tokenizer = opened.tokenizer()
      tokenizer.encode('then a text')
      tokenizer.dispose()
    } finally {
      opened.close()
    }
  } catch (error) {
    if (error instanceof PareError) return error
    throw error
  }
  return undefined
}

/** Runs all cases; some must survive and many must be refused, or the damage tests nothing. */
function runCases(prepare: (below: (n: number) => number) => string): void {
  let [survived, refused] = [0, 0]
  const before = process.resourceUsage().maxRSS * 1024
  for (let seed = 0; seed < CASES; seed++) {
    const path = prepare(numbersBelow(seed))
    const started = performance.now()
    try {
      if (use(path)) refused++
      else survived++
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error })
    }
    // A run of the whole model takes some hundredths of a second.
    expect(performance.now() - started, `seed ${seed}`).toBeLessThan(10_000)
  }
  expect(survived).toBeGreaterThan(CASES / 50)
  expect(refused).toBeGreaterThan(CASES / 5)
  expect(process.resourceUsage().maxRSS * 1024 - before).toBeLessThan(LIMIT)
}

test('the undamaged models run', () => {
  expect([use(original), use(originalFolder)]).toEqual([undefined, undefined])
})
test('a damaged GGUF file ends in a result or a typed error', () => {
  const bytes = readFileSync(original)
  const path = join(folder, 'damaged.gguf')
  const head = bytes.indexOf('output_norm.weight') + 64
  runCases((below) => {
    writeFileSync(path, damage(bytes, head, below))
    return path
  })
})
test('a damaged folder ends in a result or a typed error, whichever of its files is hit', () => {
  const names = readdirSync(originalFolder)
  const files = new Map(names.map((name) => [name, readFileSync(join(originalFolder, name))]))
  const target = writeTinyFolder(join(folder, 'damaged'))
  runCases((below) => {
    const hit = names[below(names.length)]!
    for (const [name, bytes] of files)
      writeFileSync(join(target, name), name === hit ? damage(bytes, 2000, below) : bytes)
    if (below(10) === 0) rmSync(join(target, hit))
    return target
  })
})
test('the command line gives a result or one line, never a defect', () => {
  const bytes = readFileSync(original)
  const path = join(folder, 'command.gguf')
  for (const [seed, command] of (
    ['inspect', 'plan', 'eval', 'inspect', 'plan', 'eval', 'inspect', 'plan'] as const
  ).entries()) {
    writeFileSync(path, damage(bytes, 6000, numbersBelow(1000 + seed)))
    const { code, stderr } = pare([
      command,
      path,
      ...(command === 'eval' ? ['--context', '32', '--windows', '1'] : []),
    ])
    expect([0, 1, 2, 6], `seed ${seed}: ${stderr}`).toContain(code)
    expect(stderr).not.toMatch(/defect of Pare|PARE_E_INTERNAL/)
  }
})
