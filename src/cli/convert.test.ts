/** `pare convert` as a user runs it. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { beforeAll, expect, test } from 'vitest'
import { createSafetensors } from '../formats/safetensors/writer.ts'
import { configToHuggingFace } from '../models/llama/config.ts'
import { weightShapes } from '../models/llama/weight_shapes.ts'
import type { ConversionReport } from '../run/convert/conversion_report.ts'
import { scope } from '../tensor/index.ts'
import { randomStream } from '../tensor/random.ts'
import { jsonError, pare, root, startPare, temporaryFolder } from './pare_process.suite.ts'
import { writeTinyGguf } from './tiny_model.suite.ts'

const folder = temporaryFolder()
const model = join(folder, 'tiny.gguf')
beforeAll(() => {
  writeTinyGguf(model)
})

test('a file becomes four bits in MLX, and these the same codes in a Pare folder, with a line for each kind of weight', () => {
  const [mlx, folderOfPare] = [join(folder, 'mlx'), join(folder, 'pare')]
  const first = pare(['convert', model, '--target', 'mlx', '--bits', '4', '--output', mlx])
  expect(first).toMatchObject({ code: 0, signal: null })
  expect(first.stdout).toMatch(
    /model\.layers\.\{0-1\}\.mlp\.up_proj\.weight +F16 -> 4 bits, groups of 64.*rounded: at most .*, relative error 0\.00/,
  )
  expect(first.stdout).not.toContain('warning')
  const second = pare(['convert', mlx, '--target', 'pare', '--lossless', '--output', folderOfPare])
  expect(second.code).toBe(0)
  expect(second.stdout).toMatch(/weights +20 lossless: every value is as it was/)
  const all = pare(['convert', mlx, '--target', 'llama.cpp', '--all', '--output', join(folder, 'gguf')])
  expect(all.stdout).toMatch(
    /model\.layers\.1\.mlp\.up_proj\.weight +mlx-4bit -> Q4_1.*(?:lossless|codes kept)/,
  )
})
test('codes that are rounded again end in a warning, and the report as JSON has it too', () => {
  const [gptq, output] = [join(folder, 'gptq'), join(folder, 'again')]
  const made = pare([
    'convert',
    model,
    '--target',
    'gptq',
    '--bits',
    '8',
    '--group-size',
    '32',
    '--output',
    gptq,
  ])
  expect(made.code).toBe(0)
  const { code, stdout, stderr } = pare([
    'convert',
    gptq,
    '--target',
    'mlx',
    '--bits',
    '3',
    '--json',
    '--output',
    output,
  ])
  expect(code).toBe(0)
  const report = JSON.parse(stdout) as ConversionReport
  expect(report).toMatchObject({
    ...{ source: gptq, target: 'mlx', format: 'mlx', lossless: false },
    counts: { lossless: 6, 'codes kept': 0, rounded: 0, requantised: 14 },
  })
  expect(report.warnings[0]).toMatch(/double quantisation: 14 weights/)
  expect(report.weights.every(({ bytes }) => bytes > 0)).toBe(true)
  expect(stderr).toBe('')
  const text = pare(['convert', gptq, '--target', 'mlx', '--bits', '3', '--output', join(folder, 'text')])
  expect(text.stdout).toMatch(/warning: double quantisation: 14 weights .* relative error 0\.0\d+/)
})
test('a loss that is not wanted is exit code 4, and nothing is at the output', () => {
  const output = join(folder, 'lossy')
  const outcome = pare([
    'convert',
    model,
    '--target',
    'gguf',
    '--scheme',
    'Q8_0',
    '--lossless',
    '--json',
    '--output',
    output,
  ])
  expect(outcome.code).toBe(4)
  expect(jsonError(outcome)).toMatchObject({ code: 'PARE_E_LOSSY', exitCode: 4 })
  expect(existsSync(output)).toBe(false)
})

/** A model of one narrow block with many tokens. */
function writeTallModel(path: string, vocabulary: number): void {
  mkdirSync(path)
  const layer = { heads: 4, kvHeads: 4, intermediate: 64 }
  const config = {
    ...{ architecture: 'llama', hidden: 256, layers: [layer], headSize: 64, vocabulary, context: 128 },
    ...{ normEpsilon: 1e-5, rotaryBase: 10000, tied: true, attentionBias: false },
    rotaryScaling: { kind: 'none' },
  } as const
  writeFileSync(join(path, 'config.json'), JSON.stringify(configToHuggingFace(config)))
  const shapes = [...weightShapes(config)]
  const writer = createSafetensors(
    join(path, 'model.safetensors'),
    shapes.map(([name, shape]) => ({ name, shape, type: 'BF16' })),
  )
  for (const [name, shape] of shapes) {
    const [rows, ...rest] = shape as [number, ...number[]]
    const step = rows > 4096 ? rows / 64 : rows
    for (let at = 0; at < rows; at += step)
      scope(() =>
        writer.append(
          name,
          randomStream(at, name)
            .normal([step, ...rest])
            .cast('bf16')
            .bytes(),
        ),
      )
  }
  writer.finish()
}

test('Ctrl-C leaves nothing behind', async () => {
  const [source, output] = [join(folder, 'tall'), join(folder, 'stopped')]
  writeTallModel(source, 2 ** 16)
  const before = readdirSync(folder).sort()
  const { child, outcome } = startPare([
    'convert',
    source,
    '--target',
    'pare',
    '--type',
    'f32',
    '--output',
    output,
  ])
  // As soon as something is written.
  while (child.exitCode === null && readdirSync(folder).length === before.length)
    await new Promise((done) => setTimeout(done, 20))
  child.kill('SIGINT')
  expect((await outcome).code).toBe(130)
  expect(readdirSync(folder).sort()).toEqual(before)
})

test('what a killed conversion left goes with the next one to the same place, and the result that it replaced stays', async () => {
  const [source, output] = [join(folder, 'tall-killed'), join(folder, 'killed')]
  writeTallModel(source, 2 ** 16)
  const convert = ['convert', source, '--target', 'pare', '--type', 'f32', '--output', output, '--overwrite']
  expect(pare(['convert', model, '--target', 'pare', '--output', output]).code).toBe(0)
  const whole = readdirSync(output).sort()
  const parts = () => readdirSync(folder).filter((name) => name.startsWith('.killed.'))
  const { child, outcome } = startPare(convert)
  while (child.exitCode === null && parts().length === 0) await new Promise((done) => setTimeout(done, 20))
  child.kill('SIGKILL')
  expect((await outcome).signal).toBe('SIGKILL')
  expect(parts()).toHaveLength(1)
  expect(readdirSync(output).sort()).toEqual(whole)
  // One that is refused for what stands there cleans up too.
  expect(pare(convert.slice(0, -1)).code).toBe(2)
  expect(parts()).toEqual([])
  expect(pare(convert).code).toBe(0)
  expect(parts()).toEqual([])
})

test('an embedding is never in memory as a whole', () => {
  const bytesOf = (vocabulary: number, name: string) => {
    const source = join(folder, name)
    writeTallModel(source, vocabulary)
    const script = `
      const { convert } = await import(${JSON.stringify(pathToFileURL(join(root, 'dist/index.js')).href)})
      await convert({ source: ${JSON.stringify(source)}, output: ${JSON.stringify(`${source}-out`)}, target: 'pare', type: 'f32' })
      console.log(process.resourceUsage().maxRSS)`
    const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      encoding: 'utf8',
    })
    return Number(stdout) * 1024
  }
  const vocabulary = 2 ** 18
  const whole = 4 * 256 * vocabulary
  const [small, large] = [bytesOf(64, 'few'), bytesOf(vocabulary, 'many')]
  expect(small).toBeGreaterThan(0)
  // The source, the result and what they are compared through would be three of them.
  expect(large - small).toBeLessThan(whole)
})
