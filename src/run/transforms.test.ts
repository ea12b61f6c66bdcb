import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { distance, fixturePath } from '../models/llama/fixtures.suite.ts'
import { headName } from '../models/llama/names.ts'
import { openLanguageModel } from '../models/load_model.ts'
import { writeWideModel } from '../models/write/sources.suite.ts'
import { OptionError } from '../tensor/errors.ts'
import { compress } from './compress.ts'
import { type CompressOptions, resolveOptions } from './compress_options.ts'
import { compressions, logitsOf } from './compressions.suite.ts'
import { plan } from './plan.ts'
import { fromRecipe, resolvedRecipe } from './recipe_options.ts'
import { verify } from './verify/verify.ts'

const { folder, options } = compressions()
const wide = writeWideModel(join(folder, 'wide'), { tied: true })
const ids = Uint32Array.of(1, 5, 9, 2, 7, 3, 11, 4)

const resultOf = async (asked: CompressOptions) => {
  const report = await compress(asked)
  const file = report.files.find((name) => name.endsWith('.gguf'))
  return { report, path: file === undefined ? asked.output : join(asked.output, file) }
}

const targets: [CompressOptions['target'] & string, Partial<CompressOptions>][] = [
  ['pare', { bits: 8 }],
  ['gguf', { scheme: 'Q8_0', embedding: 'F16' }],
  ['llama.cpp', { scheme: 'Q8_0', embedding: 'F16' }],
  ['gptq', { bits: 8 }],
  ['vllm', { bits: 8 }],
  ['transformers', { bits: 8 }],
  ['mlx', { bits: 8 }],
  ['onnx', { bits: 8 }],
  ['transformers.js', { bits: 8 }],
]

describe.each(targets)('a rotated model for %s', (target, levels) => {
  test.each<[string, string]>([
    ['a tied folder in BF16', wide],
    ...(target === 'pare' || target === 'gguf'
      ? [['a GGUF file', fixturePath('llama-f16.gguf')] as [string, string]]
      : []),
  ])('computes what its source does, to 8 bits: %s', async (_, source) => {
    const { path } = await resultOf(
      options({ source, target, method: 'hadamard', rotateHeads: true, baselines: false, ...levels }),
    )
    // Rounding to 8 bits alone is as far, see the bounds of src/run/verify/bounds.ts.
    expect(distance(logitsOf(path, ids), logitsOf(source, ids))).toBeLessThan(0.03)
  })
})

test('the result has the bytes of its plan, with a head of its own, and tells of the rotation', async () => {
  const asked = options({ source: wide, method: 'hadamard', bits: 4 })
  const planned = await plan(asked)
  const { report, path } = await resultOf(asked)
  expect(report.bytes).toBe(planned.bytes)
  expect(report.method).toBe('hadamard+rtn')
  expect(planned.notes.join()).toContain('the head was the embedding')
  const compressing = planned.memory.find(({ phase }) => phase === 'compress')!
  // 256 x 256 numbers in f64, and twice in f32.
  expect(compressing.parts).toContainEqual({
    what: 'a weight whose edits are computed',
    bytes: 16 * 256 * 256,
    outside: true,
  })
  expect(planned.secondsMissing).toBe('not known for hadamard')
  expect(planned.steps.map(({ method, weights }) => [method, weights])).toEqual([
    ['hadamard', 7],
    ['rtn', 7],
  ])
  const open = openLanguageModel(path)
  expect(open.weights.fileBytes).toBe(report.bytes)
  expect(open.model.config.tied).toBe(false)
  expect(open.weights.infos.has(headName)).toBe(true)
  open.close()
  expect(report.transforms).toEqual([
    {
      method: 'hadamard',
      tensors: 7 + 3 + 2,
      notes: ['hidden states of 256 are rotated by a Hadamard matrix of 1 x 256, with signs of seed 0'],
    },
  ])
  expect(report.notes.join()).toContain('hadamard: hidden states of 256')
  expect(report.timeline!.map(({ phase }) => phase)).toContain('transform')
})

test('rounding to nearest beside it is that of the source as it is', async () => {
  const { report } = await resultOf(options({ source: wide, method: 'hadamard', bits: 3 }))
  const { report: plain } = await resultOf(options({ source: wide, method: 'rtn', bits: 3 }))
  const [baseline] = report.baselines!
  expect([baseline!.bytes, baseline!.kl, baseline!.perplexity]).toEqual([
    plain.bytes,
    plain.kl,
    plain.perplexity,
  ])
  expect(report.perplexitySource).toBe(plain.perplexitySource)
})

test('a method behind it is calibrated on what the rotated model computes', async () => {
  const asked = { source: wide, bits: 3, groupSize: 64, baselines: false } as const
  const { report } = await resultOf(
    options({ ...asked, steps: [{ method: 'hadamard' }, { method: 'gptq' }] }),
  )
  expect(report.method).toBe('hadamard+gptq')
  for (const { relativeError, relativeErrorRtn } of report.layers)
    expect(relativeError).toBeLessThan(relativeErrorRtn!)
})

test.each([
  [
    'codes and what repairs them',
    [
      { method: 'gptq', bits: 3 },
      { method: 'eora', rank: 2 },
    ],
  ],
  ['zeros and codes', [{ method: 'sparsegpt' }, { method: 'gptq', bits: 3 }]],
  ['zeros and codes at once', [{ method: 'sparsegpt', bits: 3 }]],
] as const)('awq searches for the grid that is stored inside of %s', async (_, steps) => {
  const { report } = await resultOf(
    options({ source: wide, steps: [{ method: 'awq', gridPoints: 2 }, ...steps], baselines: false }),
  )
  expect(report.transforms![0]!.notes[0]).toMatch(/^scales for \d+ of 3 groups of weights/)
})

test('what makes a norm larger than half floats hold is refused, and told', async () => {
  const source = join(folder, 'dead')
  writeWideModel(source, { tied: true, type: 'F16', deadInput: 3 })
  const asked = { source, method: 'smoothquant', bits: 4, baselines: false } as const
  await expect(compress(options(asked))).rejects.toThrow(
    /smoothquant makes model\.layers\.0\.input_layernorm\.weight as large as .*choose --target gguf/,
  )
})

test('a result is verified later, by what it computes and not by its weights', async () => {
  const { report, path } = await resultOf(options({ source: wide, method: 'hadamard', bits: 8 }))
  for (const source of [wide, undefined]) {
    const { passed, checks } = await verify({ path, source })
    expect(checks.flatMap(({ faults }) => faults)).toEqual([])
    expect(passed).toBe(true)
    expect(checks.find(({ name }) => name === 'logits')!.status).toBe('passed')
  }
  const { checks } = await verify({ path, source: wide })
  expect(checks.find(({ name }) => name === 'weights')!.text).toContain('which hadamard rewrote')
  expect(report.verification!.checks.find(({ name }) => name === 'weights')!.text).toContain(
    'from the source',
  )
})

test('what cannot follow a rotation, or cannot be rotated, is refused before any work', async () => {
  const refused = (extra: Partial<CompressOptions>) => () =>
    resolveOptions(options({ source: wide, ...extra }))
  expect(refused({ steps: [{ method: 'gptq' }, { method: 'hadamard' }] })).toThrow(
    /put it before the other steps/,
  )
  expect(refused({ steps: [{ method: 'hadamard', bits: 4 }, { method: 'gptq' }] })).toThrow(
    /hadamard does not read it/,
  )
  expect(refused({ steps: [{ method: 'hadamard', only: ['**'] }, { method: 'gptq' }] })).toThrow(
    /the whole model/,
  )
  expect(refused({ method: 'hadamard', rank: 4 })).toThrow(/hadamard does not read it/)
  expect(refused({ method: 'gptq', rotateHeads: true })).toThrow(/it is for hadamard/)
  expect(refused({ method: 'hadamard', limits: { targetBpw: 3 } })).toThrow(/rewrites it/)
  expect(refused({ method: 'hadamard', target: 'gguf', scheme: 'Q4_0', imatrix: 'x.gguf' })).toThrow(
    /hadamard changes them/,
  )
  expect(refused({ steps: [{ method: 'awq' }, { method: 'spqr' }] })).toThrow(
    /steps\[0\]: awq searches scales for a grid, and no step behind it rounds to one/,
  )
  expect(refused({ steps: [{ method: 'awq', groupSize: 32 }, { method: 'gptq' }] })).toThrow(
    /it is for rtn, gptq, .*spqr; put it behind --then and one of them/,
  )
  expect(refused({ steps: [null as never] })).toThrow(/steps\[0\]: a step is an object such as/)
  const encoder = fixturePath('llama-f16.gguf').replace(/llama-f16.gguf$/, 'bert-sentence')
  await expect(compress(options({ source: encoder, method: 'hadamard' }))).rejects.toThrow(OptionError)
})

test('what is said beside the steps of a recipe goes to the steps that read it', () => {
  const { transforms, steps } = resolveOptions(
    options({ source: wide, bits: 3, rotateHeads: true, steps: [{ method: 'hadamard' }] }),
  )
  expect(transforms).toMatchObject([{ method: 'hadamard', own: { rotateHeads: true } }])
  expect(steps).toMatchObject([{ method: 'rtn', grid: { bits: 3 } }])
})

test('the resolved recipe asks for the same again', () => {
  const once = resolveOptions(options({ source: wide, method: 'hadamard', rotateHeads: true, bits: 3 }))
  const again = resolveOptions(fromRecipe(resolvedRecipe(once)))
  expect(resolvedRecipe(again)).toEqual(resolvedRecipe(once))
  expect(again.method).toBe('hadamard+rtn')
})
