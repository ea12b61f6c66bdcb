import { describe, expect, test } from 'vitest'
import { freshWeights as freshClassifier } from '../models/classifiers/fresh_weights.ts'
import { mlp } from '../models/classifiers/mlp.ts'
import type { LlamaConfig } from '../models/llama/config.ts'
import { freshWeights } from '../models/llama/fresh_weights.ts'
import { Llama, type ResidentLlama } from '../models/llama/llama.ts'
import { plainLlama } from '../models/llama/plain_llama.suite.ts'
import { memoryWeights } from '../models/memory_weights.ts'
import { divergence } from '../nn/divergence.ts'
import { hiddenLosses } from '../nn/hidden_losses.ts'
import { Parameters } from '../nn/parameters.ts'
import { adamW } from '../optim/adam.ts'
import type { ForwardContext } from '../optim/training_task.ts'
import { expectNear, onNative, valuesOf } from '../tensor/contract/claims.suite.ts'
import { OptionError } from '../tensor/errors.ts'
import {
  crossEntropy,
  nativeKernels,
  randomStream,
  scope,
  type Tensor,
  tensor,
  valueAndGrad,
} from '../tensor/index.ts'
import { type DistillationOptions, distilled } from './distillation.ts'
import { type LabelledBatch, labelledTask } from './labelled_task.ts'
import { type LanguageBatch, languageTask } from './language_task.ts'
import { Trainer } from './trainer.ts'

const step: ForwardContext = { step: 0, stream: (name) => randomStream(0, name) }
const ignored = 2 ** 32 - 1

function llama(
  hidden: number,
  layers: number,
  seed: number,
): { model: ResidentLlama; parameters: Parameters } {
  const config: LlamaConfig = plainLlama({
    hidden,
    layers: Array.from({ length: layers }, () => ({ heads: 2, kvHeads: 1, intermediate: 12 })),
    headSize: 4,
    vocabulary: 11,
    context: 8,
  })
  const parameters = new Parameters()
  for (const [name, weight] of freshWeights(config, { seed, deviation: 0.4 }))
    parameters.add(name, weight.cast('f64'))
  return { parameters, model: new Llama(config, memoryWeights(parameters.tensors())).load() }
}
const batchOf = (labels = [1, 2, 3, 4, 5, 6]): LanguageBatch => ({
  ids: Uint32Array.of(0, 1),
  inputs: tensor([0, 1, 2, 3, 4, 5], [2, 3], 'u32'),
  labels: tensor(labels, [2, 3], 'u32'),
})
const pairs = [
  { student: 'block.0/output', teacher: 'block.1/output', loss: 'mse', weight: 0.25 },
  { student: 'embedding', teacher: 'embedding', weight: 2, epsilon: 0.5 },
  { student: 'block.0/mlp/act', teacher: 'block.0/mlp/act', loss: 'cosine' },
] as const
/** Student and teacher of the same widths, and the task between them. */
function made(
  options: Omit<DistillationOptions<LanguageBatch>, 'teacher'>,
  { widths: [own, other] = [8, 8], labels }: { widths?: [number, number]; labels?: { ignored: number } } = {},
) {
  const [student, teacher] = [llama(own, 1, 1), llama(other, 2, 2)]
  const plain = languageTask(student.model, student.parameters, labels)
  const task = distilled(plain, {
    teacher: { logits: ({ inputs }, pass) => teacher.model.logits(inputs, pass) },
    ...options,
  })
  const dispose = () => {
    for (const { parameters } of [student, teacher]) parameters.dispose()
  }
  return { student, teacher, plain, task, dispose }
}

test('the loss is the weighted sum of its parts, in value and gradient', () => {
  onNative(() => {
    const run = made({
      temperature: 2,
      weight: 0.3,
      taskWeight: 1.5,
      kind: 'reverse',
      topK: 7,
      hidden: pairs,
    })
    const batch = batchOf()
    const parameters = run.student.parameters.tensors()
    const seen = (model: ResidentLlama) => {
      const tensors = new Map<string, Tensor>()
      const logits = model.logits(batch.inputs, {
        at: (site) => (x) => {
          x.adopt()
          tensors.set(site, x)
          return undefined
        },
      })
      return { logits, of: (site: string) => tensors.get(site)! }
    }
    const composed = () => {
      const [own, other] = [seen(run.student.model), seen(run.teacher.model)]
      const kl = divergence(own.logits, other.logits, { temperature: 2, kind: 'reverse', topK: 7 })
      const ce = crossEntropy(own.logits, batch.labels)
      const hidden = pairs.map(({ student, teacher, ...pair }) =>
        hiddenLosses(own.of(student), other.of(teacher), {
          kind: 'loss' in pair ? pair.loss : undefined,
          epsilon: 'epsilon' in pair ? pair.epsilon : undefined,
        })
          .mean()
          .mul('weight' in pair ? pair.weight : 1),
      )
      return hidden.reduce((sum, part) => sum.add(part), kl.mean().mul(0.3).add(ce.mul(1.5)))
    }
    const found = valueAndGrad(() => run.task.losses(batch, step).mean(), parameters)
    const want = valueAndGrad(composed, parameters)
    expectNear(found.value, [want.value.item()], { units: 64 })
    for (const [path, gradient] of found.gradients)
      expectNear(gradient, valuesOf(want.gradients.get(path)!), { units: 256, scale: 1 })
    run.dispose()
  })
})
test('all of it comes from one forward of each, and the teacher gets no gradient', () => {
  onNative(() => {
    const student = llama(8, 1, 1)
    const teacher = llama(8, 2, 2)
    const calls: string[] = []
    const counted = (name: string, model: ResidentLlama) => ({
      layers: model.layers,
      logits: (ids: Tensor, pass: object) => {
        calls.push(name)
        return model.logits(ids, pass)
      },
    })
    const task = distilled(languageTask(counted('student', student.model), student.parameters), {
      teacher: languageTask(counted('teacher', teacher.model), teacher.parameters),
      hidden: pairs,
    })
    const { gradients } = valueAndGrad(
      () => task.losses(batchOf(), step).mean(),
      new Map([
        ...student.parameters.tensors(),
        ...[...teacher.parameters.tensors()].map(([path, x]) => [`teacher/${path}`, x] as const),
      ]),
    )
    expect(calls).toEqual(['teacher', 'student'])
    for (const [path, gradient] of gradients)
      expect(gradient.abs().sum().item() > 0, path).toBe(student.parameters.has(path))
    for (const { parameters } of [student, teacher]) parameters.dispose()
  })
})
test('a student that is its teacher has nothing to learn', () => {
  onNative(() => {
    const { model, parameters } = llama(8, 2, 4)
    const same = (loss: 'mse' | 'normalised' | 'cosine') => ({
      student: 'block.1/output',
      teacher: 'block.1/output',
      loss,
    })
    const task = distilled(languageTask(model, parameters), {
      teacher: { logits: ({ inputs }, pass) => model.logits(inputs, pass) },
      weight: 1,
      temperature: 3,
      hidden: [same('mse'), same('normalised'), same('cosine')],
    })
    const { value, gradients } = valueAndGrad(() => task.losses(batchOf(), step).mean(), parameters.tensors())
    // Cosines are rounded; on the way back come as many roundings as there are terms of the sums, of numbers near 1.
    expect(Math.abs(value.item())).toBeLessThan(8 * 2 ** -53)
    for (const gradient of gradients.values())
      for (const g of valuesOf(gradient)) expect(Math.abs(g)).toBeLessThan(512 * 2 ** -53)
    parameters.dispose()
  })
})
test('labels that are ignored count nothing', () => {
  onNative(() => {
    const run = made({ weight: 0.5 }, { labels: { ignored } })
    const labels = [1, ignored, ignored, 4, 5, ignored]
    const losses = valuesOf(run.task.losses(batchOf(labels), step))
    const [own, other] = [run.student, run.teacher].map(({ model }) => model.logits(batchOf().inputs))
    const kl = valuesOf(divergence(own!, other!))
    const ce = valuesOf(crossEntropy(own!, batchOf(labels).labels, { ignored, reduction: 'none' }))
    expect(losses[0]).toBeCloseTo(0.5 * kl[0]! + 0.5 * ce[0]!, 13)
    expect(losses[1]).toBeCloseTo((kl[3]! + kl[4]! + ce[3]! + ce[4]!) / 4, 13)
    expect(valuesOf(run.task.counts!(batchOf(labels)))).toEqual([1, 2])
    run.dispose()
  })
})
test('widths that differ need a map, whose weight is trained', () => {
  onNative(() => {
    const pair = { student: 'block.0/output', teacher: 'block.1/output' }
    const without = made({ hidden: [pair] }, { widths: [6, 8] })
    expect(() => without.task.losses(batchOf(), step)).toThrow(
      /6 channels and .* 8; give map: \{ from: 6, to: 8 \}/,
    )
    without.dispose()
    const run = made(
      { hidden: [{ ...pair, map: { from: 6, to: 8 } }], weight: 0, taskWeight: 0 },
      { widths: [6, 8] },
    )
    const map = run.student.parameters.get('distillation.0.weight').tensor
    expect([map.shape, map.dtype]).toEqual([[8, 6], 'f64'])
    const { gradients } = valueAndGrad(
      () => run.task.losses(batchOf(), step).mean(),
      run.student.parameters.tensors(),
    )
    expect(gradients.get('distillation.0.weight')!.abs().sum().item()).toBeGreaterThan(0)
    run.dispose()
  })
})
test('what cannot be is refused, sites with the nearest that there are', () => {
  onNative(() => {
    const refused = (options: Omit<DistillationOptions<LanguageBatch>, 'teacher'>, words: RegExp) => {
      const student = llama(8, 1, 1)
      const task = () =>
        distilled(languageTask(student.model, student.parameters), {
          teacher: languageTask(student.model, student.parameters),
          ...options,
        }).losses(batchOf(), step)
      expect(task).toThrow(OptionError)
      expect(task).toThrow(words)
      student.parameters.dispose()
    }
    const pair = { student: 'block.0/output', teacher: 'block.0/output' }
    refused({ temperature: -1 }, /temperature/)
    refused({ weight: -1 }, /weight: needs a number from 0 on/)
    refused({ weight: 0, taskWeight: 0 }, /all weights are 0/)
    refused({ hidden: [{ ...pair, weight: Number.NaN }] }, /hidden\[0\]\.weight/)
    refused({ hidden: [{ ...pair, map: { from: 0, to: 8 } }] }, /hidden\[0\]\.map\.from/)
    refused({ hidden: [{ ...pair, loss: 'l1' as 'mse' }] }, /mse, normalised, cosine/)
    refused(
      { hidden: [{ ...pair, teacher: 'block.0/outptu' }] },
      /hidden\[0\]\.teacher: the model comes by no site block\.0\/outptu; nearest are block\.0\/output/,
    )
  })
})
test('nothing is left in memory behind a step', () => {
  const kernels = nativeKernels()
  onNative(() => {
    const run = made({ hidden: pairs })
    const batch = batchOf()
    const before = kernels.memory().tensors
    scope(() => {
      valueAndGrad(() => run.task.losses(batch, step).mean(), run.student.parameters.tensors())
    })
    expect(kernels.memory().tensors).toBe(before)
    run.dispose()
  })
})
describe('a small network beside a trained one', () => {
  const samples = 64
  const x = (at: readonly number[]) =>
    tensor(
      at.flatMap((i) => [Math.cos(i), Math.sin(i * 0.7)]),
      [at.length, 2],
    )
  const all = Array.from({ length: samples }, (_, i) => i)
  const batches = (labels: (i: number) => number) => ({
    at: 0,
    epoch: 0,
    next(): LabelledBatch {
      const ids = all.filter((i) => i % 4 === this.at % 4)
      this.at++
      return {
        ids: Uint32Array.from(ids),
        inputs: x(ids),
        labels: tensor(ids.map(labels), [ids.length], 'u32'),
      }
    },
    state: () => 0,
    load: () => {},
  })
  const network = (widths: number[], seed: number) => {
    const parameters = new Parameters()
    const net = mlp({ widths }, freshClassifier(parameters, { seed }))
    const task = labelledTask<LabelledBatch>({
      parameters,
      logits: ({ inputs }, { at }) => net.forward(inputs, { at }),
    })
    return { parameters, net, task }
  }
  const trained = (
    task: ReturnType<typeof network>['task'],
    labels: (i: number) => number,
    steps: number,
  ) => {
    const trainer = new Trainer({
      task,
      loader: batches(labels),
      optimiser: adamW({ rate: 0.03, decay: 0 })(task.parameters),
    })
    for (let i = 0; i < steps; i++) trainer.next()
    trainer.dispose()
  }
  test('distillation comes nearer to the teacher than labels alone', () => {
    onNative(() => {
      // Labels are those of a rule, but for every fifth, which is wrong: the teacher has them right.
      const rule = (i: number) => (Math.cos(i) > 0 ? 1 : 0) + (Math.sin(i * 0.7) > 0 ? 2 : 0)
      const noisy = (i: number) => (i % 5 === 0 ? (rule(i) + 1) % 4 : rule(i))
      const teacher = network([2, 32, 4], 1)
      trained(teacher.task, rule, 60)
      const distance = (net: ReturnType<typeof network>['net']) =>
        scope(() =>
          divergence(net.forward(x(all)), teacher.net.forward(x(all)))
            .mean()
            .item(),
        )
      const found = [0, 1].map((weight) => {
        const student = network([2, 8, 4], 7)
        const before = distance(student.net)
        const task = distilled(student.task, { teacher: teacher.task, temperature: 2, weight })
        trained(task, noisy, 60)
        const after = distance(student.net)
        student.parameters.dispose()
        return { before, after }
      })
      const [labels, taught] = found as [(typeof found)[0], (typeof found)[0]]
      expect(taught.before).toBe(labels.before)
      expect(taught.after).toBeLessThan(0.2 * taught.before)
      expect(taught.after).toBeLessThan(0.5 * labels.after)
      teacher.parameters.dispose()
    })
  })
})
