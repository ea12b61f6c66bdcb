/** `pare compress`: results, reports and the rules around the output folder. */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import type { CompressionReport } from '../run/report.ts'
import { version } from '../run/version.ts'
import { briefly, jsonError, pare, temporaryFolder } from './pare_process.suite.ts'
import { writeTinyFolder, writeTinyGguf } from './tiny_model.suite.ts'

const folder = temporaryFolder()
const model = join(folder, 'tiny.gguf')
const huggingFace = join(folder, 'hf')
beforeAll(() => {
  writeTinyGguf(model)
  writeTinyFolder(huggingFace)
})

/** Compresses and returns the report that `--json` prints. */
function compressed(
  name: string,
  args: readonly string[],
  source = model,
): CompressionReport & { folder: string } {
  const output = join(folder, name)
  const { code, stdout, stderr } = pare([
    'compress',
    source,
    ...args,
    '--output',
    output,
    ...briefly,
    '--json',
  ])
  expect(code, stderr).toBe(0)
  return { ...JSON.parse(stdout), folder: output }
}

test('--json prints report.json, with every field that was promised', () => {
  const { folder: output, ...report } = compressed('fields', [])
  expect(JSON.parse(readFileSync(join(output, 'report.json'), 'utf8'))).toEqual(report)
  for (const field of [
    'perplexity',
    'perplexitySource',
    'kl',
    'klStandardError',
    'kl99',
    'top1',
    'tokens',
    'bytes',
    'bytesSource',
    'bitsPerWeight',
    'fileBitsPerWeight',
    'seconds',
    'peakMemoryBytes',
  ] as const) {
    expect(report[field], field).toBeTypeOf('number')
    expect(Number.isFinite(report[field]), field).toBe(true)
  }
  expect(report.protocol).toBe('32/nonoverlap')
  expect(report.tokens).toBe(2 * 31)
  expect(report.version).toBe(version)
  expect(report.layers).toHaveLength(14)
  for (const layer of report.layers) {
    expect(Object.keys(layer).sort()).toEqual([
      ...['bits', 'name', 'notes', 'relativeError', 'relativeErrorRtn', 'values'],
    ])
    expect(layer.relativeError).toBeGreaterThan(0)
  }
  expect(report.files.toSorted()).toEqual(readdirSync(output).sort())
})
test('the bytes of the report are those on the disk, and those of the plan', () => {
  for (const args of [
    ['--target', 'gguf', '--scheme', 'Q8_0'],
    ['--target', 'gptq', '--group-size', '32'],
    ['--bits', '3'],
  ]) {
    const name = `bytes${args.join('')}`
    const report = compressed(name, [...args, '--method', 'rtn'])
    const weights = report.files.filter((file) => /\.(gguf|safetensors)$/.test(file))
    expect(weights).toHaveLength(1)
    expect(readFileSync(join(report.folder, weights[0]!)).length).toBe(report.bytes)
    const plan = JSON.parse(pare(['plan', model, ...args, '--method', 'rtn', '--json']).stdout)
    expect([plan.bytes, plan.bitsPerWeight, plan.bytesSource]).toEqual([
      report.bytes,
      report.bitsPerWeight,
      report.bytesSource,
    ])
  }
})
test('each target can be evaluated again and then has the figures of its report', () => {
  const targets = {
    gguf: ['--scheme', 'IQ4_NL'],
    gptq: ['--bits', '4', '--group-size', '64'],
    pare: ['--bits', '4'],
  }
  for (const source of [model, huggingFace]) {
    for (const [target, args] of Object.entries(targets)) {
      const report = compressed(`again-${target}-${source === model}`, ['--target', target, ...args], source)
      const { code, stdout, stderr } = pare([
        'eval',
        report.folder,
        '--against',
        source,
        '--context',
        '32',
        '--windows',
        '2',
        '--json',
      ])
      expect(code, stderr).toBe(0)
      const { perplexity, perplexitySource, kl, top1, tokens, protocol } = JSON.parse(stdout)
      expect({ perplexity, perplexitySource, kl, top1, tokens, protocol }).toEqual({
        perplexity: report.perplexity,
        perplexitySource: report.perplexitySource,
        kl: report.kl,
        top1: report.top1,
        tokens: report.tokens,
        protocol: report.protocol,
      })
    }
  }
})
test('the defaults are gptq, pare, 4 bits and groups of 64; gguf takes Q4_K', () => {
  const plan = JSON.parse(pare(['plan', model, '--json']).stdout)
  expect(plan).toMatchObject({ method: 'gptq', target: 'pare' })
  expect(plan.tensors.find((t: { role: string }) => t.role === 'matrix').type).toBe('4 bits, groups of 64')
  const wide = writeTinyGguf(join(folder, 'wide.gguf'), { hidden: 256 })
  const { tensors } = JSON.parse(pare(['plan', wide, '--target', 'gguf', '--json']).stdout)
  expect(
    new Set(
      tensors.filter((t: { role: string }) => t.role === 'matrix').map((t: { type: string }) => t.type),
    ),
  ).toEqual(new Set(['Q4_K']))
})
test('a type that does not fit a row is replaced with a note, and refused with --no-fallback', () => {
  const { tensors, notes } = JSON.parse(pare(['plan', model, '--target', 'gguf', '--json']).stdout)
  expect(tensors.find((t: { role: string }) => t.role === 'matrix').type).not.toBe('Q4_K')
  expect(notes.join()).toMatch(/Q4_K does not divide rows of 64/)
  const outcome = pare(['plan', model, '--target', 'gguf', '--no-fallback', '--json'])
  expect([outcome.code, jsonError(outcome).code]).toEqual([2, 'PARE_E_FALLBACK'])
})
test('a result that is larger than its source says so in the last line', () => {
  const small = join(
    compressed('small', ['--method', 'rtn', '--target', 'gguf', '--scheme', 'Q4_0', '--no-evaluate']).folder,
    'tiny-Q4_0.gguf',
  )
  const { code, stdout } = pare([
    'compress',
    small,
    '--method',
    'rtn',
    '--bits',
    '8',
    '--no-evaluate',
    '--output',
    join(folder, 'large'),
  ])
  expect(code).toBe(0)
  expect(stdout.trim().split('\n').at(-1)).toMatch(/larger than its source: .* against/)
  const report = JSON.parse(readFileSync(join(folder, 'large', 'report.json'), 'utf8'))
  expect(report.bytes).toBeGreaterThan(report.bytesSource)
  expect(report).not.toHaveProperty('perplexity')
  const warning = /larger than those of its source/
  expect(report.notes.filter((note: string) => warning.test(note))).toHaveLength(1)
  const planned = pare(['plan', small, '--method', 'rtn', '--bits', '8'])
  expect(planned.stdout).toMatch(warning)
})
test('fewer samples and windows than asked for are used and reported', () => {
  const text = join(folder, 'short.txt')
  writeFileSync(text, '0123456789'.repeat(10))
  const report = compressed('fewer', ['--calib', text, '--text', text])
  expect(report.calibration).toMatchObject({ samples: 3, length: 32, tokens: 96 })
  expect(report.notes.join('\n')).toMatch(/calibration: the text holds 3 of the 4 samples/)
  const { stdout } = pare(['eval', model, '--text', text, '--context', '32', '--windows', '9', '--json'])
  expect(JSON.parse(stdout)).toMatchObject({
    tokens: 3 * 31,
    notes: [expect.stringMatching(/3 of the 9 windows/)],
  })
})
test('the same command gives the same weights, whatever the threads', () => {
  const weights = (name: string, threads: string) =>
    readFileSync(
      join(
        compressed(name, ['--threads', threads, '--no-evaluate', '--act-order']).folder,
        'model.safetensors',
      ),
    )
  expect(weights('one', '1').equals(weights('two', '2'))).toBe(true)
})
test('the portable kernels give a result too', () => {
  const output = join(folder, 'portable')
  const { code, stdout, stderr } = pare(['compress', model, '--output', output, ...briefly, '--json'], {
    env: { PARE_SIMD: 'portable' },
  })
  expect(code, stderr).toBe(0)
  expect(JSON.parse(stdout).kl).toBeGreaterThan(0)
})
test('--overwrite replaces the whole folder, and a failure leaves the old one', () => {
  const output = join(folder, 'replaced')
  mkdirSync(output)
  writeFileSync(join(output, 'old.txt'), 'old')
  const args = ['compress', model, '--method', 'rtn', '--output', output, '--overwrite', '--json']
  const empty = join(folder, 'empty.txt')
  writeFileSync(empty, '')
  expect(pare([...args, '--text', empty]).code).toBe(2)
  expect(readdirSync(output)).toEqual(['old.txt'])
  expect(pare([...args, '--no-evaluate']).code).toBe(0)
  expect(readdirSync(output)).not.toContain('old.txt')
  expect(readdirSync(folder).filter((name) => name.includes('.pare-'))).toEqual([])
})
test('--overwrite does not replace a folder that holds the source, the text or the working folder', () => {
  const home = join(folder, 'home')
  mkdirSync(home)
  const source = writeTinyGguf(join(home, 'm.gguf'))
  writeFileSync(join(home, 'text.txt'), '0123456789'.repeat(50))
  symlinkSync(home, join(folder, 'link'))
  const args = ['--method', 'rtn', '--no-evaluate', '--overwrite', '--json']
  for (const outcome of [
    pare(['compress', source, '--output', home, ...args]),
    pare(['compress', source, '--output', join(folder, 'link'), ...args]),
    pare(['compress', model, '--output', home, '--text', join(home, 'text.txt'), ...args]),
    pare(['compress', model, '--output', '.', ...args], { cwd: home }),
  ]) {
    expect(outcome.code).toBe(2)
    expect(jsonError(outcome).message).toMatch(/would be lost/)
  }
  expect(readdirSync(realpathSync(home)).sort()).toEqual(['m.gguf', 'text.txt'])
  expect(existsSync(source)).toBe(true)
})
