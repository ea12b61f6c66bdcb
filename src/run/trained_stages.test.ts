/** Compressions whose stages are trained as a whole: what is stored, in which targets, and what is refused. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { openSafetensors } from '../formats/safetensors/safetensors.ts'
import { openCompressible } from '../models/load_model.ts'
import { writeWideModel } from '../models/write/sources.suite.ts'
import { AbortError, OptionError } from '../tensor/errors.ts'
import { compress } from './compress.ts'
import type { CompressOptions } from './compress_options.ts'
import { compressions } from './compressions.suite.ts'
import { plan } from './plan.ts'
import type { ProgressEvent } from './progress.ts'
import { modelOf } from './small_run.suite.ts'
import { stepMethod, type WeightMethodName, weightMethodNames } from './step_methods.ts'
import { targetNames, targetOf } from './targets.ts'
import { digestOf } from './verify/value_digest.ts'
import { changeTensor, failedOf } from './verify/verified_results.suite.ts'
import { verify } from './verify/verify.ts'

const { folder, options } = compressions()
const wide = join(folder, 'wide')
beforeAll(() => void writeWideModel(wide))

const run = (extra: Partial<CompressOptions>): CompressOptions =>
  options({ evaluate: false, probe: false, samples: 4, length: 32, ...extra })
const omniquant = { method: 'omniquant', epochs: 2, learningRate: 0.1, bits: 3, groupSize: 16 } as const
const aqlm = {
  method: 'aqlm',
  ...{ books: 2, bookBits: 3, tileColumns: 8, rounds: 1, adamSteps: 2 },
  ...{ blockEpochs: 3, blockRate: 1e-3, blockHeld: 0 },
} as const
const qwen2 = 'interop/fixtures/qwen2-f16.gguf'

test('a method that trains stages needs a statistic, reads what the training reads, and leaves it out for 0 passes', () => {
  const trained = weightMethodNames.filter((name) => stepMethod(name).training)
  expect(trained).toEqual(expect.arrayContaining(['aqlm', 'omniquant'] satisfies WeightMethodName[]))
  for (const name of trained) {
    const { needs, training, options: read } = stepMethod(name)
    expect(needs.length).toBeGreaterThan(0)
    expect(Object.keys(read)).toEqual(expect.arrayContaining([...training!.options]))
    expect(training!.tuner({ [training!.options[0]]: 0 })).toBeUndefined()
    expect(training!.tuner({ [training!.options[0]]: 1 })!.name).toBe(name)
  }
})

const layouts = targetNames.flatMap((target) =>
  targetOf(target).layouts.map(({ format }) => [target, format] as const),
)
describe.each(layouts)('omniquant for %s as %s', (target, format) => {
  const several = targetOf(target).layouts.length > 1
  const { bits: _, groupSize: __, ...own } = omniquant
  const asked = () => run({ source: wide, target, ...(several ? { format } : {}), ...own })
  if (format === 'gguf')
    test('is refused, as block types have ranges of their own', async () => {
      await expect(compress(asked())).rejects.toThrow(OptionError)
      await expect(compress(asked())).rejects.toThrow(
        /omniquant rounds to evenly spaced levels, which a GGUF file does not hold; use --method gptq/,
      )
    })
  else
    test('holds what was trained, and loses no more than before', async () => {
      const { tuning, verification, layers, output } = await compress(asked())
      expect(tuning!.map(({ stage }) => stage)).toEqual(['block.0'])
      for (const { losses, kept } of tuning!) {
        expect(losses).toHaveLength(3)
        expect(losses[kept]).toBeLessThanOrEqual(losses[0]!)
      }
      const { facts } = verification!.checks.find(({ name }) => name === 'weights')!
      expect([layers.length, facts.digests, facts.same]).toEqual([7, 7, 7])
      expect(await verify({ path: output, source: wide })).toMatchObject({ passed: true })
    })
})

test('losses at the outputs are less with training than without, and other layers report their own errors', async () => {
  const before = await compress(run({ ...omniquant, epochs: 0 }))
  const after = await compress(run({ ...omniquant, epochs: 8 }))
  expect(before.tuning).toBeUndefined()
  for (const { losses, kept } of after.tuning!) expect(losses[kept]!).toBeLessThan(losses[0]!)
  expect(after.layers.map(({ relativeError }) => relativeError)).not.toEqual(
    before.layers.map(({ relativeError }) => relativeError),
  )
  expect(after.notes).toContainEqual(expect.stringMatching(/^training lowered .* of 2 stages by \d/))
})
test('of an encoder, the outputs of its layers are trained for', async () => {
  const { calibration: _, ...asked } = run({
    ...omniquant,
    source: 'interop/fixtures/bert-sentence',
    length: 16,
  })
  const { tuning } = await compress(asked)
  expect(tuning!.length).toBeGreaterThan(0)
  for (const { losses, kept } of tuning!) expect(losses[kept]!).toBeLessThanOrEqual(losses[0]!)
})
test('behind a pruner, zeros stay zeros in every target', async () => {
  const steps = [{ method: 'wanda' }, omniquant] as const
  for (const extra of [
    { target: 'pare' },
    { target: 'gptq', overrides: [{ match: 're:[kv]_proj', keep: true }] },
  ] as const) {
    const { output, tuning, layers } = await compress(run({ steps: [...steps], ...extra }))
    expect(tuning).toHaveLength(2)
    const open = openCompressible(output)
    try {
      for (const { name, values } of layers) {
        const weight = open.weights.load(name)
        expect(digestOf(weight, { sketch: false }).sha256).toBe(values!.sha256)
        if (extra.target === 'gptq' && /[kv]_proj/.test(name)) continue
        const zeros = Array.from(weight.toArray(), Number).filter((x) => x === 0).length
        expect(zeros / weight.size, name).toBeGreaterThanOrEqual(0.5)
      }
    } finally {
      open.close()
    }
  }
})
test('weights that are kept as they are stay so beside trained ones', async () => {
  const overrides = [{ match: 're:down_proj', keep: true }]
  const { output, tuning } = await compress(run({ ...omniquant, overrides }))
  expect(tuning).toHaveLength(2)
  const name = 'model.layers.1.mlp.down_proj.weight'
  const [result, source] = [openCompressible(output), openCompressible('interop/fixtures/llama-f16.gguf')]
  const sha = ({ weights }: typeof result) => digestOf(weights.load(name)).sha256
  expect(sha(result)).toBe(sha(source))
  result.close()
  source.close()
})

describe('blocks of aqlm', () => {
  const names = [
    ...['input_layernorm.weight', 'post_attention_layernorm.weight'],
    ...['self_attn.q_proj.bias', 'self_attn.k_proj.bias', 'self_attn.v_proj.bias'],
  ].map((part) => `model.layers.0.${part}`)
  let trained: Awaited<ReturnType<typeof compress>>
  beforeAll(async () => {
    trained = await compress(run({ ...aqlm, source: qwen2 }))
  })

  test('train norms and biases too, which are stored in f32 and read back as they were', async () => {
    const { output, tuning } = trained
    expect(tuning!.flatMap(({ floats }) => floats.map(({ name }) => name))).toEqual(names)
    for (const { losses, kept } of tuning!) expect(losses[kept]!).toBeLessThan(losses[0]!)
    const archive = openSafetensors(join(output, 'model.safetensors'))
    for (const name of names) expect(archive.tensors.get(name)!.type).toBe('F32')
    archive.close()
    const [result, source] = [openCompressible(output), openCompressible(qwen2)]
    const changed = tuning!
      .flatMap(({ floats }) => floats)
      .filter(({ name, values }) => {
        const weight = result.weights.load(name)
        expect(digestOf(weight).sha256).toBe(values.sha256)
        return digestOf(source.weights.load(name)).sha256 !== values.sha256
      })
    expect(changed.map(({ name }) => name)).toEqual(names)
    result.close()
    source.close()
  })
  test('are verified, with the source and without it; a norm that was changed is found', async () => {
    const { output } = trained
    expect(await verify({ path: output, source: qwen2 })).toMatchObject({ passed: true })
    expect(await verify({ path: output })).toMatchObject({ passed: true })
    changeTensor(names[0]!, (bytes) => bytes.writeFloatLE(bytes.readFloatLE(0) + 1e-3, 0))(output)
    expect(failedOf(await verify({ path: output }))).toContain('weights')
  })
  test('are not trained with 0 epochs: the bytes are those of a run that says nothing of it', async () => {
    const { blockEpochs: _, blockRate: __, blockHeld: ___, ...plain } = aqlm
    const [none, silent] = [run({ ...plain, blockEpochs: 0 }), run(plain)]
    expect((await compress(none)).tuning).toBeUndefined()
    await compress(silent)
    expect(modelOf(none.output)).toEqual(modelOf(silent.output))
  })
  test('are as large as the plan says', async () => {
    const asked = run(aqlm)
    const { bytes, tensors } = await plan(asked)
    expect(tensors.filter(({ role }) => role === 'vector').map(({ type }) => type)).toEqual([
      'F32',
      'F32',
      'F32',
      'F32',
      'F16',
    ])
    const report = await compress(asked)
    expect(report.bytes).toBe(bytes)
    expect(readFileSync(join(asked.output, 'model.safetensors')).length).toBe(bytes)
  })
})

describe('refused before anything is computed', () => {
  const eora = { method: 'eora', rank: 2 } as const
  const cases: [string, Partial<CompressOptions>, RegExp][] = [
    [
      'a step behind trained codebooks',
      { steps: [aqlm, eora] },
      /steps\[0\]: aqlm trains each block, and a later step changes .*--block-epochs 0/,
    ],
    [
      'a step behind trained ranges',
      { steps: [omniquant, eora] },
      /omniquant trains each block, .*--epochs 0/,
    ],
    [
      'two trainings that differ',
      {
        steps: [
          { ...aqlm, only: ['re:_proj'] },
          { ...omniquant, only: ['re:down_proj'] },
        ],
      },
      /steps\[1\]: omniquant trains each block, and steps\[0\] \(aqlm\) does with other options/,
    ],
    [
      'options of another method',
      { method: 'gptq', epochs: 3 },
      /--epochs: gptq does not read it; leave it out, it is for omniquant/,
    ],
    [
      'a learning rate of 0',
      { ...omniquant, learningRate: 0 },
      /a number above 0, up to 10 is needed, got 0/,
    ],
  ]
  test.each(cases)('%s', async (_, extra, message) => {
    for (const job of [compress, plan]) {
      const refused = job(run(extra))
      await expect(refused).rejects.toThrow(OptionError)
      await expect(refused).rejects.toThrow(message)
    }
  })
  test('but steps that ask for the same training share it, and a chain without one goes on', async () => {
    const halves = [
      { ...aqlm, only: ['re:attn'] },
      { ...aqlm, bookBits: 4, only: ['re:mlp'] },
    ]
    expect((await compress(run({ steps: halves }))).tuning).toHaveLength(2)
    const { tuning, method } = await compress(run({ steps: [{ ...omniquant, epochs: 0 }, eora] }))
    expect([tuning, method]).toEqual([undefined, 'omniquant+eora'])
  })
})

test('behind a transform, stages are trained for what the rewritten model puts out, and verified so', async () => {
  for (const last of [omniquant, aqlm]) {
    const { output, tuning } = await compress(run({ steps: [{ method: 'hadamard' }, last] }))
    for (const { losses, kept } of tuning!) expect(losses[kept]!).toBeLessThanOrEqual(losses[0]!)
    expect(await verify({ path: output, source: 'interop/fixtures/llama-f16.gguf' })).toMatchObject({
      passed: true,
    })
  }
})
test('bits that a size decides are trained as any others', async () => {
  const { bits: _, ...open } = omniquant
  const { tuning, mix, fileBitsPerWeight } = await compress(run({ ...open, limits: { targetBpw: 9.5 } }))
  expect([tuning!.length, fileBitsPerWeight <= 9.5]).toEqual([2, true])
  expect(Object.keys(mix!.levels).length).toBeGreaterThan(0)
})
test('a signal ends the training between two steps; the stages before it are kept', async () => {
  const asked = run({ ...omniquant, epochs: 50 })
  const controller = new AbortController()
  const notes: string[] = []
  const progress = (event: ProgressEvent) => {
    if (event.kind === 'note') notes.push(event.text)
    if (event.kind === 'progress' && event.text === 'block.1 omniquant') controller.abort()
  }
  await expect(compress(asked, { signal: controller.signal, progress })).rejects.toThrow(AbortError)
  expect(notes.at(-1)).toMatch(/^1 of 2 stages are kept/)
})
