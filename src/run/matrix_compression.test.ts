import { tmpdir } from 'node:os'
import { describe, expect, test } from 'vitest'
import { numbers } from '../models/llama/fixtures.suite.ts'
import type { OpenLanguageModel } from '../models/open_model.ts'
import type { Stage, StagePlan } from '../models/stage.ts'
import type { TargetPlan } from '../models/write/model_writer.ts'
import type { TensorPlan } from '../models/write/tensor_plan.ts'
import { affineGrid } from '../nn/grid.ts'
import { Linear } from '../nn/linear.ts'
import { denseSource } from '../nn/weight_source.ts'
import type { QuantizerName } from '../quantize/methods.ts'
import { AbortError } from '../tensor/errors.ts'
import { currentKernels, scope, tensor } from '../tensor/index.ts'
import { type CompressOptions, resolveOptions } from './compress_options.ts'
import type { RunHooks } from './evaluate.ts'
import {
  type CompressionSteps,
  type FinishedStage,
  MatrixCompression,
  remarkLines,
} from './matrix_compression.ts'
import { digestOf } from './verify/value_digest.ts'

/**
 * Two stages, each of one weight [4, 4] whose rows are all the same; every token is embedded as (1, 1, 1, 1). With
 * 2 bits for values from 0 to 3 the levels are 0, 1, 2 and 3.
 */
const usualRow = [1.4375, 1.4375, 0, 3]
const matrixOf = (row: readonly number[]): number[] => Array(4).fill(row).flat()
const dense = matrixOf(usualRow)
const names = ['first', 'second']

function handMade(values: readonly number[]) {
  const inputs: Record<string, number[]> = { first: [], second: [] }
  const stage = (name: string): StagePlan => ({
    name: `stage of ${name}`,
    weights: [name],
    load(): Stage {
      const linear = new Linear(name, denseSource(tensor([...values], [4, 4])))
      const input = ({ hidden }: { hidden?: ReturnType<typeof tensor> }) => {
        inputs[name] = numbers(hidden!)
        return hidden!
      }
      return {
        segments: [{ linears: [linear], input, run: (_, x) => ({ hidden: linear.forward(x) }) }],
        resources: () => [linear],
      }
    },
  })
  const source = {
    model: {
      stages: names.map(stage),
      embed: (ids: Uint32Array) => tensor(new Float32Array(4 * ids.length).fill(1), [ids.length, 4]),
      context: () => ({ rotary: { cos: tensor([1]), sin: tensor([0]) } }),
    },
    weights: { load: () => tensor([...values], [4, 4]) },
  } as unknown as OpenLanguageModel
  return { source, inputs }
}

const planOf = (name: string, extra: Partial<TensorPlan> = {}): TensorPlan => ({
  name,
  shape: [4, 4],
  role: 'matrix',
  sourceType: 'F32',
  type: '2 bits',
  grid: affineGrid({ bits: 2, groupSize: 'row' }),
  kept: false,
  bytes: 12,
  ...extra,
})

type Written = [how: 'source' | 'numbers', name: string, values: number[]]

/** Runs all of it; `written` is what the writer got, in its order. */
async function run(
  options: Partial<CompressOptions>,
  {
    samples,
    plans = names.map((name) => planOf(name)),
    hooks = {},
    written = [],
    from = 0,
    steps = {},
    row = usualRow,
  }: {
    samples?: Uint32Array[]
    plans?: TensorPlan[]
    hooks?: RunHooks
    written?: Written[]
    from?: number
    steps?: Partial<CompressionSteps>
    row?: number[]
  } = {},
) {
  const { source, inputs } = handMade(matrixOf(row))
  const resolved = resolveOptions({
    source: 'm',
    output: 'o',
    bits: 2,
    groupSize: 'row',
    actOrder: false,
    ...options,
  })
  const target: Partial<TargetPlan> = {
    tensors: plans,
    encodeSource({ name }, compressed) {
      scope(() => void written.push(['source', name, numbers(compressed.dense())]))
      return encoded(name)
    },
    encodeNumbers({ name }, values) {
      written.push(['numbers', name, numbers(values)])
      return encoded(name)
    },
  }
  const stages: FinishedStage[] = []
  const matrices = new MatrixCompression(resolved, hooks, source, target as TargetPlan)
  await matrices.run(samples, { from, scratch: tmpdir(), finished: (stage) => stages.push(stage), ...steps })
  return { layers: stages.flatMap(({ layers }) => layers), stages, written, inputs }
}
const encoded = (name: string) => [{ name: `${name} in the file`, bytes: Uint8Array.of(1) }]
const rows = (...values: number[]) => Array(4).fill(values).flat()

describe('round to nearest', () => {
  test('every weight is written once, stage by stage, at its nearest levels', async () => {
    const { written } = await run({ method: 'rtn' })
    expect(written).toEqual([
      ['source', 'first', rows(1, 1, 0, 3)],
      ['source', 'second', rows(1, 1, 0, 3)],
    ])
  })
  test('the report has the stored bits and the error of the values alone', async () => {
    const { layers, stages } = await run({ method: 'rtn' })
    // Two of four values are 0.4375 off; 12 bytes for 16 weights.
    const error = (2 * 0.4375 ** 2) / (2 * 1.4375 ** 2 + 9)
    expect(layers.map(({ name, bits, notes }) => ({ name, bits, notes }))).toEqual([
      { name: 'first', bits: 6, notes: [] },
      { name: 'second', bits: 6, notes: [] },
    ])
    for (const { relativeError, relativeErrorRtn } of layers) {
      expect(relativeError).toBeCloseTo(error, 7)
      expect(relativeErrorRtn).toBe(relativeError)
    }
    expect(stages.flatMap(({ remarks }) => remarks)).toEqual([])
  })
})

describe('GPTQ over one token', () => {
  const samples = [Uint32Array.of(0)]

  test('the second weight makes up for the first, so that less of the output is lost', async () => {
    // 1.4375 -> 1 leaves 0.4375, a third of it for each later weight: 1.583 -> 2, then -0.06 -> 0 and 2.88 -> 3.
    const { layers, written } = await run({ method: 'gptq' }, { samples })
    expect(written).toEqual([
      ['source', 'first', rows(1, 2, 0, 3)],
      ['source', 'second', rows(1, 2, 0, 3)],
    ])
    // Outputs: 5.875 of the source, 6 of GPTQ, 5 of rounding to nearest.
    for (const { relativeError, relativeErrorRtn } of layers) {
      expect(relativeError).toBeCloseTo((0.125 / 5.875) ** 2, 7)
      expect(relativeErrorRtn).toBeCloseTo((0.875 / 5.875) ** 2, 7)
    }
  })
  test.each([true, false])(
    'the next stage gets what the compressed weights make (true sequential: %s)',
    async (trueSequential) => {
      const { inputs } = await run({ method: 'gptq', trueSequential }, { samples })
      expect(inputs).toEqual({ first: [1, 1, 1, 1], second: [6, 6, 6, 6] })
    },
  )
  test('a remark on several weights is one line with their number, on one weight a line with its name', async () => {
    const both = await run({ method: 'gptq' }, { samples })
    expect(remarkLines(both.stages)).toEqual(['2 weights: only 1 tokens for 4 inputs'])
    for (const { notes } of both.layers) expect(notes).toEqual(['only 1 tokens for 4 inputs'])
    const { grid: _, ...plain } = planOf('first')
    const plans = [plain, planOf('second')]
    const one = await run({ method: 'gptq' }, { samples, plans })
    expect(remarkLines(one.stages)).toEqual(['second: only 1 tokens for 4 inputs'])
  })
})

test('a stage that is finished is handed over with its tensors, its layers and the inputs of the next one', async () => {
  const chains: (number[] | undefined)[] = []
  const stages: FinishedStage[] = []
  const steps: Partial<CompressionSteps> = {
    finished(stage, found) {
      stages.push(stage)
      chains.push(found && scope(() => numbers(found.current.read(0, 'hidden'))))
    },
  }
  await run({ method: 'gptq' }, { samples: [Uint32Array.of(0)], steps })
  expect(stages.map(({ index, name, tensors, layers }) => [index, name, tensors, layers.length])).toEqual([
    [0, 'stage of first', encoded('first'), 1],
    [1, 'stage of second', encoded('second'), 1],
  ])
  expect(chains).toEqual([
    [6, 6, 6, 6],
    [36, 36, 36, 36],
  ])
})
test('a run that goes on gets the inputs of its stage and does none of those before', async () => {
  const restore: CompressionSteps['restore'] = ({ current }) =>
    scope(() => current.write(0, 'hidden', tensor([6, 6, 6, 6], [1, 1, 4])))
  const { written, inputs } = await run(
    { method: 'gptq' },
    { samples: [Uint32Array.of(0)], from: 1, steps: { restore } },
  )
  expect(written.map(([, name]) => name)).toEqual(['second'])
  expect(inputs).toEqual({ first: [], second: [6, 6, 6, 6] })
  const nearest = await run({ method: 'rtn' }, { from: 1 })
  expect(nearest.written.map(([, name]) => name)).toEqual(['second'])
})

test('a weight without a grid is written as its numbers, with no error and the note of its plan', async () => {
  const { grid: _, ...stored } = planOf('first', { type: 'F16', bytes: 32, note: 'does not fit' })
  const { layers, written, inputs } = await run(
    { method: 'gptq' },
    { samples: [Uint32Array.of(0)], plans: [stored, planOf('second', { note: 'replaced' })] },
  )
  expect(written[0]).toEqual(['numbers', 'first', dense])
  expect(layers[0]).toEqual({
    name: 'first',
    bits: 16,
    relativeError: 0,
    relativeErrorRtn: 0,
    notes: ['does not fit'],
    values: scope(() => digestOf(tensor(dense, [4, 4]), { sketch: false })),
  })
  expect(inputs.second).toEqual([5.875, 5.875, 5.875, 5.875])
  expect(layers[1]!.notes).toEqual(['replaced', 'only 1 tokens for 4 inputs'])
})

test('a weight in half floats has their error, and the next stage sees it', async () => {
  const { grid: _, ...stored } = planOf('first', { type: 'BF16', bytes: 32 })
  const { layers, inputs } = await run(
    { method: 'gptq' },
    { samples: [Uint32Array.of(0)], plans: [stored, planOf('second')], row: [1.005859375, 0, 0, 3] },
  )
  // 1 + 3/512 lies between the bf16 1 and 1 + 4/512, and nearer to the second.
  expect(inputs.second).toEqual([4.0078125, 4.0078125, 4.0078125, 4.0078125])
  expect(layers[0]!.relativeError).toBeCloseTo((1 / 512 / 4.005859375) ** 2, 10)
})

describe.each([
  ['rtn', {}],
  ['gptq', { samples: [Uint32Array.of(0)] }],
] as [QuantizerName, { samples?: Uint32Array[] }][])('%s', (method, given) => {
  test('progress names the stages and rises from 0 to 1 at most', async () => {
    const events: { share: number; text: string }[] = []
    const progress: RunHooks['progress'] = (event) => {
      if (event.kind === 'progress') events.push(event)
    }
    await run({ method }, { ...given, hooks: { progress } })
    expect([...new Set(events.map(({ text }) => text))]).toEqual(['stage of first', 'stage of second'])
    const shares = events.map(({ share }) => share)
    expect(shares).toEqual(shares.toSorted((a, b) => a - b))
    expect([shares[0]! >= 0, shares.at(-1)! <= 1]).toEqual([true, true])
    expect(events.find(({ text }) => text === 'stage of second')!.share).toBeGreaterThanOrEqual(0.5)
  })
  test('after a signal no weight is written, and nothing is left in memory', async () => {
    const controller = new AbortController()
    const written: Written[] = []
    const before = currentKernels().memory().tensors
    // The first progress comes when everything is ready for the first weight.
    const hooks = { progress: () => controller.abort(), signal: controller.signal }
    await expect(run({ method }, { ...given, hooks, written })).rejects.toThrow(AbortError)
    expect(written).toEqual([])
    expect(currentKernels().memory().tensors).toBe(before)
  })
  test('nothing is left in memory', async () => {
    const before = currentKernels().memory().tensors
    await run({ method }, given)
    expect(currentKernels().memory().tensors).toBe(before)
  })
})
