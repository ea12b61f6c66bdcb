/** A task for sparse trainings: a network of three layers learns another one from 24 samples, in f32. */
import { Linear } from '../../nn/linear.ts'
import { Parameters } from '../../nn/parameters.ts'
import { denseSource } from '../../nn/weight_source.ts'
import type { OptimiserFor } from '../../optim/optimiser.ts'
import { sgd } from '../../optim/sgd.ts'
import type { TrainingMethod } from '../../optim/training_method.ts'
import type { Loader, TrainingBatch, TrainingTask } from '../../optim/training_task.ts'
import { randomStream, referenceKernels, scope, type Tensor, withKernels } from '../../tensor/index.ts'
import { Trainer, type TrainerOptions } from '../../train/trainer.ts'

const widths = [8, 12, 8, 4] as const
const samples = 24
const batch = 8

export const matrices = ['layer.0.weight', 'layer.1.weight', 'layer.2.weight']

/** All of these tests run on the reference kernels, whose bits depend on no machine. */
export const on = <T>(body: () => T): T => withKernels(referenceKernels(), () => scope(body))

export interface SmallTask extends TrainingTask<TrainingBatch> {
  readonly layers: readonly Linear[]
  /** What the network makes of all samples. */
  outputs(): Tensor
  /** Mean squared distance from the targets over all samples. */
  error(): number
}

export function smallTask({
  dtype = 'f32',
  seed = 5,
}: {
  dtype?: 'f32' | 'bf16'
  seed?: number
} = {}): SmallTask {
  const stream = randomStream(seed, 'small task')
  const inputs = stream.normal([samples, widths[0]])
  const teacher = stream.normal([widths[0], widths[3]])
  const targets = inputs.matmul(teacher).tanh().cast(dtype)
  const x = inputs.cast(dtype)
  const parameters = new Parameters()
  const layers = matrices.map((path, i) => {
    const init = stream.normal([widths[i + 1]!, widths[i]!]).mul(1 / Math.sqrt(widths[i]!))
    const weight = parameters.add(path, init.cast(dtype))
    const bias = parameters.add(
      `layer.${i}.bias`,
      stream
        .normal([widths[i + 1]!])
        .mul(0.1)
        .cast(dtype),
    )
    return new Linear(path, denseSource(weight), bias)
  })
  const forward = (rows: Tensor) =>
    layers.reduce((h, layer, i) => (i === 0 ? layer.forward(h) : layer.forward(h.tanh())), rows)
  return {
    parameters,
    layers,
    losses: ({ ids }) =>
      forward(x.slice(0, ids[0]!, ids[0]! + batch))
        .sub(targets.slice(0, ids[0]!, ids[0]! + batch))
        .square()
        .mean(-1),
    outputs: () => forward(x),
    error: () => scope(() => forward(x).sub(targets).square().mean().item()),
  }
}

/** The same three batches over and over. */
export function smallLoader(): Loader<TrainingBatch> {
  let next = 0
  return {
    next() {
      const first = (next++ % (samples / batch)) * batch
      return { ids: Uint32Array.from({ length: batch }, (_, i) => first + i) }
    },
    epoch: 0,
    state: () => next,
    load: (saved) => {
      next = saved as number
    },
  }
}

export function training(
  methods: readonly TrainingMethod<TrainingBatch>[],
  optimiser: OptimiserFor = sgd({ rate: 0.05, momentum: 0.9 }),
  options: Partial<TrainerOptions<TrainingBatch>> & { task?: SmallTask } = {},
) {
  const { task = smallTask() } = options
  const trainer = new Trainer({
    loader: smallLoader(),
    optimiser: optimiser(task.parameters),
    methods,
    ...options,
    task,
  })
  return { task, trainer }
}

/** Bytes of all that a training saves, by path, but of its methods. */
export const bitsOf = (trainer: Trainer<TrainingBatch>, alsoMethods = false): Map<string, string> =>
  scope(
    () =>
      new Map(
        Object.entries(trainer.state()).flatMap(([path, x]) =>
          alsoMethods || !path.startsWith('method/') ? [[path, x.bytes().join(' ')] as const] : [],
        ),
      ),
  )

export const numbersOf = (x: Tensor): number[] => scope(() => Array.from(x.toArray() as Float32Array))
