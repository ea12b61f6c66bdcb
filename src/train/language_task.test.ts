import { expect, test } from 'vitest'
import type { LlamaConfig } from '../models/llama/config.ts'
import { freshWeights } from '../models/llama/fresh_weights.ts'
import { Llama } from '../models/llama/llama.ts'
import { plainLlama } from '../models/llama/plain_llama.suite.ts'
import { memoryWeights } from '../models/memory_weights.ts'
import { Parameters } from '../nn/parameters.ts'
import { readSites } from '../nn/sites.ts'
import { expectNear, onNative, valuesOf } from '../tensor/contract/claims.suite.ts'
import { crossEntropy, nativeKernels, scope, tensor, valueAndGrad } from '../tensor/index.ts'
import { languageTask } from './language_task.ts'

const config: LlamaConfig = plainLlama({
  hidden: 12,
  layers: Array.from({ length: 2 }, () => ({ heads: 3, kvHeads: 1, intermediate: 10 })),
  headSize: 4,
  vocabulary: 11,
  context: 8,
  tied: false,
  attentionBias: true,
})
function made() {
  const parameters = new Parameters()
  for (const [name, weight] of freshWeights(config, { seed: 1, deviation: 0.3 }))
    parameters.add(name, weight.cast('f64'))
  return { parameters, resident: new Llama(config, memoryWeights(parameters.tensors())).load() }
}
const ids = [3, 0, 7, 7, 1, 10, 4, 2]
const inputs = () => tensor(ids, [2, 4], 'u32')
const training = { step: 0, stream: () => expect.fail('nothing is drawn') }
const ignored = 4294967295

test('many sequences at once have the logits of each alone, and visit the same sites', () => {
  onNative(() => {
    const { parameters, resident } = made()
    const seen: string[] = []
    const found = resident.logits(inputs(), { at: (site) => void seen.push(site) })
    expect(found.shape).toEqual([2, 4, 11])
    for (const row of [0, 1])
      expectNear(
        found.select(0, row),
        valuesOf(resident.forward(Uint32Array.from(ids.slice(4 * row, 4 * row + 4)))),
        { units: 64, scale: 1 },
      )
    expect([...new Set(seen)]).toEqual(resident.model.sites())
    expect(resident.layers.map(({ name }) => name)).toEqual(
      resident.model.stages.flatMap(({ weights }) => weights),
    )
    parameters.dispose()
  })
})
test('what is read at sites has its gradients, outlives the stages, and is freed', () => {
  const kernels = nativeKernels()
  onNative(() => {
    const { parameters, resident } = made()
    const before = kernels.memory().tensors
    const loss = () =>
      scope(() => {
        const reader = readSites(['block.0/output', 'block.1/input', 'block.1/mlp/act'])
        try {
          resident.logits(inputs(), { at: reader.at })
          expect(reader.passed).toEqual(new Set(resident.model.sites()))
          return [...reader.tensors.values()].reduce(
            (sum, x) => sum.add(x.square().mean()),
            tensor([0], [], 'f64'),
          )
        } finally {
          reader.dispose()
        }
      })
    scope(() => {
      const { gradients } = valueAndGrad(loss, parameters.tensors())
      for (const block of [0, 1]) {
        const gradient = gradients.get(`model.layers.${block}.mlp.up_proj.weight`)!
        expect(gradient.abs().sum().item()).toBeGreaterThan(0)
      }
    })
    expect(kernels.memory().tensors).toBe(before)
    parameters.dispose()
  })
})
test('the loss of a sample is the mean over its labels that count', () => {
  onNative(() => {
    const { parameters, resident } = made()
    const labels = [1, ignored, 3, 4, ignored, ignored, ignored, ignored]
    const batch = { ids: Uint32Array.of(0, 1), inputs: inputs(), labels: tensor(labels, [2, 4], 'u32') }
    const rows = valuesOf(
      crossEntropy(resident.logits(inputs()), batch.labels, { reduction: 'none', ignored }),
    )
    const task = languageTask(resident, parameters, { ignored })
    const losses = valuesOf(task.losses(batch, training))
    expect(losses[0]).toBeCloseTo((rows[0]! + rows[2]! + rows[3]!) / 3, 14)
    expect(losses[1]).toBe(0)
    expect(valuesOf(task.counts!(batch))).toEqual([3, 0])
    expect(valuesOf(task.counted!(batch)!)).toEqual([1, 0, 1, 1, 0, 0, 0, 0])
    expect(task.work!(batch)).toEqual({ units: 8, unit: 'tokens' })
    expect(languageTask(resident, parameters).counts).toBeUndefined()
    parameters.dispose()
  })
})
