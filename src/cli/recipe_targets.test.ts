/** Recipes over a tiny model: what each target stores is what was asked for, read from the result. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { numbers } from '../models/llama/fixtures.suite.ts'
import { openLanguageModel } from '../models/load_model.ts'
import { reopened } from '../models/write/sources.suite.ts'
import { compress } from '../run/compress.ts'
import { plan } from '../run/plan.ts'
import type { Recipe } from '../run/recipe.ts'
import { fromRecipe } from '../run/recipe_options.ts'
import { OptionError } from '../tensor/errors.ts'
import { writeTinyFolder, writeTinyGguf } from './tiny_model.suite.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-recipes-'))
const sources = {
  gguf: join(folder, 'tiny.gguf'),
  wide: join(folder, 'wide.gguf'),
  folder: join(folder, 'hf'),
}
beforeAll(() => {
  writeTinyGguf(sources.gguf)
  writeTinyGguf(sources.wide, { hidden: 256 })
  writeTinyFolder(sources.folder)
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

let count = 0
const briefly: Partial<Recipe> = {
  calibration: { samples: 4, length: 32 },
  evaluation: { context: 32, windows: 1 },
}

/** Compresses, checks the plan against the file, and returns type and values of every tensor of the result. */
async function run(recipe: Omit<Recipe, 'pare'>) {
  const output = join(folder, `out-${++count}`)
  const whole: Recipe = { pare: 1, output, ...briefly, ...recipe }
  const planned = await plan(fromRecipe(whole))
  const report = await compress(fromRecipe(whole))
  const file = readdirSync(output).find((name) => /\.(gguf|safetensors)$/.test(name))!
  expect(statSync(join(output, file)).size).toBe(planned.bytes)
  expect(report.bytes).toBe(planned.bytes)
  const path = file.endsWith('.gguf') ? join(output, file) : output
  return reopened(path, ({ weights, model, format }) => {
    const types = new Map([...weights.infos.values()].map((info) => [info.name, info.type]))
    for (const { name, bytes } of planned.tensors) expect(weights.infos.get(name)!.bytes).toBe(bytes)
    expect(numbers(model.load().forward(Uint32Array.of(3, 4, 5))).every(Number.isFinite)).toBe(true)
    return {
      types,
      values: (name: string) => valuesOf(path, name),
      planned,
      report,
      output,
      file,
      format,
    }
  })
}
const up = (block: number) => `model.layers.${block}.mlp.up_proj.weight`
const q = (block: number) => `model.layers.${block}.self_attn.q_proj.weight`
const embedding = 'model.embed_tokens.weight'
const valuesOf = (path: string, name: string) => {
  const open = openLanguageModel(path)
  try {
    return numbers(open.weights.load(name))
  } finally {
    open.close()
  }
}

describe.each(['rtn', 'gptq'] as const)('%s', (method) => {
  test.each(['gguf', 'folder'] as const)(
    'a GGUF file has the type of each override (source: %s)',
    async (from) => {
      const source = sources[from]
      const { types, values, file, report } = await run({
        source,
        target: 'gguf',
        steps: [{ method, scheme: 'Q4_0' }],
        overrides: [
          { match: 'model.layers.0.*', scheme: 'Q8_0' },
          { match: up(0), scheme: 'F32' },
          { match: '**.q_proj', keep: true },
          { match: 'model.embed_tokens', scheme: 'Q5_1' },
        ],
      })
      expect([types.get(up(1)), types.get('model.layers.0.mlp.down_proj.weight')]).toEqual(['Q4_0', 'Q8_0'])
      expect([types.get(up(0)), types.get(q(0)), types.get(embedding)]).toEqual(['F32', 'F16', 'Q5_1'])
      for (const name of [up(0), q(0), q(1)]) expect(values(name)).toEqual(valuesOf(source, name))
      expect(file).toBe(from === 'gguf' ? 'tiny-Q4_0.gguf' : 'hf-Q4_0.gguf')
      expect(
        report.layers
          .filter(({ relativeError }) => relativeError === 0)
          .map(({ name }) => name)
          .sort(),
      ).toEqual([up(0), q(0), q(1)].sort())
    },
  )
  test('a Pare folder has the bits, groups and zeros of each override', async () => {
    const { types, values, output } = await run({
      source: sources.folder,
      target: 'pare',
      steps: [{ method, bits: 3, groupSize: 32 }],
      overrides: [
        { match: 'model.layers.0', bits: 8 },
        { match: '**.up_proj', groupSize: 'row', symmetric: true },
        { match: q(1), keep: true },
        { match: q(0), scheme: 'Q5_0' },
        { match: 'model.embed_tokens', bits: 4, groupSize: 16 },
      ],
    })
    expect(types.get('model.layers.1.mlp.down_proj.weight')).toBe('3 bits, groups of 32')
    expect(types.get('model.layers.0.mlp.down_proj.weight')).toBe('8 bits, groups of 32')
    expect(types.get(up(0))).toBe('8 bits, one group a row, symmetric')
    expect(types.get(up(1))).toBe('3 bits, one group a row, symmetric')
    expect([types.get(q(1)), types.get(q(0)), types.get(embedding)]).toEqual([
      'F16',
      'Q5_0',
      '4 bits, groups of 16',
    ])
    expect(values(q(1))).toEqual(valuesOf(sources.folder, q(1)))
    const { weights } = JSON.parse(readFileSync(join(output, 'pare.json'), 'utf8'))
    expect(weights[up(0)]).toMatchObject({ kind: 'grid', bits: 8, groupSize: 'row', symmetric: true })
    expect(weights).not.toHaveProperty([q(1)])
  })
  test('a GPTQ checkpoint leaves out what is kept, and says so to its readers', async () => {
    const { types, values, output, format } = await run({
      source: sources.folder,
      target: 'gptq',
      steps: [{ method, bits: 4, groupSize: 32 }],
      overrides: [
        { match: 'model.layers.0.mlp', keep: true },
        { match: 'model.embed_tokens', keep: true },
        // As the checkpoint anyway.
        { match: 'model.layers.1', bits: 4 },
      ],
    })
    expect(format).toBe('gptq')
    expect([types.get(up(0)), types.get(up(1)), types.get(embedding)]).toEqual(['F16', 'gptq-4bit', 'F16'])
    expect(values(up(0))).toEqual(valuesOf(sources.folder, up(0)))
    const { quantization_config } = JSON.parse(readFileSync(join(output, 'config.json'), 'utf8'))
    const patterns = Object.keys(quantization_config.dynamic).map((pattern) => {
      expect(pattern.startsWith('-:')).toBe(true)
      return new RegExp(pattern.slice(2))
    })
    const leftOut = [...types.keys()]
      .map((name) => name.replace(/\.weight$/, ''))
      .filter((name) => patterns.some((p) => p.test(name)))
    expect(leftOut.sort()).toEqual(['down', 'gate', 'up'].map((part) => `model.layers.0.mlp.${part}_proj`))
  })
})

test('a type that does not fit the row has the usual stand-in, and none with fallback: false', async () => {
  const recipe: Omit<Recipe, 'pare'> = {
    source: sources.gguf,
    target: 'gguf',
    steps: [{ method: 'rtn', scheme: 'Q4_0' }],
    overrides: [{ match: up(0), scheme: 'Q3_K' }],
  }
  const { types, planned } = await run(recipe)
  expect(types.get(up(0))).toBe('IQ4_NL')
  expect(planned.tensors.find(({ name }) => name === up(0))!.note).toBe('Q3_K does not divide rows of 64')
  await expect(run({ ...recipe, fallback: false })).rejects.toThrow(
    /up_proj.*Q3_K needs rows that 256 divides/,
  )
})
test('the file is named for the type of most weights, and K types are stored where they fit', async () => {
  const { types, file } = await run({
    source: sources.wide,
    target: 'gguf',
    steps: [
      { method: 'rtn', scheme: 'Q6_K', only: ['**.self_attn'] },
      { method: 'rtn', scheme: 'Q3_K', only: ['**.mlp'] },
    ],
    evaluation: false,
  })
  expect([types.get(q(0)), types.get(up(0)), file]).toEqual(['Q6_K', 'Q3_K', 'wide-Q3_K.gguf'])
})
test('kept tensors of a quantised GGUF file have its bytes', async () => {
  const first = await run({
    source: sources.gguf,
    target: 'gguf',
    steps: [{ method: 'rtn', scheme: 'Q5_1' }],
  })
  const source = join(first.output, first.file)
  const { types, values } = await run({
    source,
    target: 'gguf',
    steps: [{ scheme: 'Q4_0', only: ['model.layers.1'] }],
    overrides: [{ match: q(1), keep: true }],
  })
  expect([types.get(q(0)), types.get(q(1)), types.get(up(1))]).toEqual(['Q5_1', 'Q5_1', 'Q4_0'])
  expect(values(q(1))).toEqual(valuesOf(source, q(1)))
  for (const target of ['pare', 'gptq'] as const) {
    await expect(run({ source, target, overrides: [{ match: q(1), keep: true }] })).rejects.toThrow(
      /^overrides\[0\]: .*q_proj\.weight is Q5_1 in the source.*keeps F32, F16 and BF16/,
    )
  }
})
test('a second step works on what the first one made', async () => {
  const recipe = (steps: Recipe['steps']) =>
    run({ source: sources.folder, target: 'pare', evaluation: false, steps: steps! })
  const coarse = { method: 'rtn', bits: 2, groupSize: 64 } as const
  const [twice, once] = [
    await recipe([coarse, { method: 'gptq', bits: 8, only: ['model.layers.0'] }]),
    await recipe([coarse]),
  ]
  // Four levels a group, rounded again to steps of a 255th of its range.
  const distance = (a: number[], b: number[]) => Math.max(...a.map((x, i) => Math.abs(x - b[i]!)))
  expect(twice.types.get(up(0))).toBe('8 bits, groups of 64')
  expect(twice.types.get(up(1))).toBe('2 bits, groups of 64')
  expect(distance(twice.values(up(0)), once.values(up(0)))).toBeLessThan(0.02)
  expect(distance(once.values(up(0)), valuesOf(sources.folder, up(0)))).toBeGreaterThan(0.05)
  expect(twice.planned.steps.map(({ weights }) => weights)).toEqual([14, 7])
})
test('steps with patterns: every weight has the levels of the last step that takes it, and the rest stays', async () => {
  const { types, planned, report } = await run({
    source: sources.folder,
    target: 'pare',
    steps: [
      { method: 'rtn', bits: 8, only: ['**.mlp'] },
      { method: 'gptq', bits: 4, only: ['model.layers.1'] },
    ],
  })
  expect([up(0), up(1), q(0), q(1)].map((name) => types.get(name))).toEqual([
    '8 bits, groups of 64',
    '4 bits, groups of 64',
    'F16',
    '4 bits, groups of 64',
  ])
  expect(planned.notes).toContain('4 linear weights are taken by no step and stay as they are')
  expect([planned.method, report.method]).toEqual(['rtn+gptq', 'rtn+gptq'])
})

describe('a GPTQ checkpoint refuses what it cannot hold, and nothing is written', () => {
  test.each<[Partial<Recipe>, RegExp]>([
    [
      { overrides: [{ match: up(0), bits: 8 }] },
      /^overrides\[0\]: a GPTQ checkpoint has one form for all of its linear weights, 4 bits, groups of 64, .* got 8 bits, groups of 64 for model\.layers\.0\.mlp\.up_proj\.weight; choose/,
    ],
    [{ overrides: [{ match: up(0), groupSize: 32 }] }, /one form for all of its linear weights/],
    [{ overrides: [{ match: up(0), symmetric: true }] }, /one form for all of its linear weights/],
    [{ overrides: [{ match: 'model.embed_tokens', bits: 8 }] }, /half floats for the rest/],
    [
      { steps: [{ method: 'rtn' }, { method: 'rtn', bits: 8, only: ['**.mlp'] }] },
      /^steps\[1\]: a GPTQ checkpoint has one form/,
    ],
  ])('%j', async (recipe, message) => {
    const output = join(folder, 'never')
    const asked = fromRecipe({ pare: 1, source: sources.folder, target: 'gptq', output, ...recipe })
    await expect(compress(asked)).rejects.toThrow(OptionError)
    await expect(plan(asked)).rejects.toThrow(message)
    expect(existsSync(output)).toBe(false)
  })
})
test('matrices are measured under a limit that has room for it, and a limit without room is refused at the start', async () => {
  const asked = (name: string, maxMemory: string) =>
    fromRecipe({
      pare: 1,
      source: sources.gguf,
      output: join(folder, name),
      calibration: { samples: 2, length: 32 },
      evaluation: false,
      limits: { targetBpw: 8, maxMemory },
    })
  await expect(compress(asked('never', '40MB'))).rejects.toThrow(/^--max-memory: .*40/)
  expect(existsSync(join(folder, 'never'))).toBe(false)
  expect((await compress(asked('measured', '2GB'))).mix).toBeDefined()
})
test('a recipe file is compressed as the same recipe in code is, to the byte', async () => {
  const path = join(folder, 'recipe.yaml')
  writeFileSync(
    path,
    `pare: 1
source: ${sources.folder}
output: ${join(folder, 'from-file')}
calibration: { samples: 2, length: 32 }
evaluation: false
steps: [{ bits: 3 }]
overrides: [{ match: 'model.layers.0.*', bits: 4 }]
`,
  )
  await compress(fromRecipe(path))
  const options = { calibration: { samples: 2, length: 32 }, evaluation: false as const }
  const { output } = await run({
    source: sources.folder,
    steps: [{ bits: 3 }],
    overrides: [{ match: 'model.layers.0.*', bits: 4 }],
    ...options,
  })
  const bytes = (from: string) => readFileSync(join(from, 'model.safetensors'))
  expect(bytes(output).equals(bytes(join(folder, 'from-file')))).toBe(true)
})
