/**
 * One training: steps with named phases, whose state can be saved after any of them and loaded to go on to the same
 * bits. What the phases are stands in `optim/training_method.ts`.
 */

import { alone, type Collective } from '../optim/collective.ts'
import { clipFactor, gradientNorm } from '../optim/gradients.ts'
import type { Optimiser } from '../optim/optimiser.ts'
import { drawn, Faults, keptBuffers, meanGradients, type StepOutcome } from '../optim/step.ts'
import { checkMethods, isDue, type StepContext, type TrainingMethod } from '../optim/training_method.ts'
import type { Loader, TrainingBatch, TrainingTask } from '../optim/training_task.ts'
import { OptionError, StateError } from '../tensor/errors.ts'
import {
  keepFreedMemory,
  type RandomStream,
  randomStream,
  type StreamState,
  scope,
  type Tensor,
  unrecorded,
} from '../tensor/index.ts'

export interface TrainerOptions<B extends TrainingBatch> {
  task: TrainingTask<B>
  loader: Loader<B>
  optimiser: Optimiser
  /** In the order in which they act. @default none */
  methods?: readonly TrainingMethod<B>[]
  /** Of all random streams of the run. @default 0 */
  seed?: number
  /** Largest Euclidean norm of all gradients together; longer ones are shortened to it. Above 0. @default none */
  clip?: number
  /** Batches of one step, whose gradients are averaged; whole, from 1 on. @default 1 */
  accumulate?: number
  /**
   * What happens where a loss or a gradient is not finite: the run stops, or leaves the step out, up to this many times
   * one after another. @default 0
   */
  skipAtMost?: number
  /** @default one worker */
  collective?: Collective
}

/** What a step did. */
export interface StepReport extends StepOutcome {
  readonly epoch: number
  readonly samples: number
  readonly work: { units: number; unit: string }
}

/** What JSON holds of a training. */
export interface TrainerPosition {
  readonly step: number
  readonly skippedInRow: number
  readonly seed: number
  readonly loader: unknown
  readonly streams: readonly StreamState[]
}

export class Trainer<B extends TrainingBatch = TrainingBatch> {
  readonly task: TrainingTask<B>
  readonly optimiser: Optimiser
  private readonly options: Required<Omit<TrainerOptions<B>, 'clip'>> & { clip: number | undefined }
  private readonly streams = new Map<string, RandomStream>()
  private step = 0
  private readonly faults: Faults
  private prepared = false

  /** @throws OptionError where a number is out of its range, or two methods want the same phase for themselves */
  constructor(options: TrainerOptions<B>) {
    const { methods = [], seed = 0, clip, accumulate = 1, skipAtMost = 0, collective = alone } = options
    if (clip !== undefined && !(clip > 0 && Number.isFinite(clip)))
      throw new OptionError(`clip: needs a norm above 0, got ${clip}; leave it out to clip nothing`)
    for (const [name, value, least] of [
      ['accumulate', accumulate, 1],
      ['skipAtMost', skipAtMost, 0],
    ] as const)
      if (!(Number.isSafeInteger(value) && value >= least))
        throw new OptionError(`${name}: needs a whole number from ${least} on, got ${value}`)
    checkMethods(methods)
    this.task = options.task
    this.optimiser = options.optimiser
    this.faults = new Faults(skipAtMost)
    this.options = { ...options, methods, seed, clip, accumulate, skipAtMost, collective }
  }

  /** Steps done. */
  get steps(): number {
    return this.step
  }

  get epoch(): number {
    return this.options.loader.epoch
  }

  /**
   * Learns from the next batches; undefined where the data has ended.
   *
   * @throws NumericalError, with parameters, buffers and moments as they were before the step, where a loss or gradient is not
   * finite and no more steps may be left out.
   */
  next(): StepReport | undefined {
    this.prepare()
    const { methods, loader, accumulate } = this.options
    const epoch = loader.epoch
    return scope(() => {
      const batches = drawn(loader, accumulate).map((batch) =>
        methods.reduce((all, method) => method.batch?.(all, this.context(epoch)) ?? all, batch),
      )
      return batches.length === 0 ? undefined : this.learn(batches, epoch)
    })
  }

  /** After the last step. */
  finish(): void {
    this.prepare()
    for (const method of this.options.methods) method.finish?.(this.context(this.epoch))
  }

  /** Copies of all tensors that the coming steps depend on, by path. They belong to the caller. */
  state(): Record<string, Tensor> {
    this.prepare()
    const parts: [string, Readonly<Record<string, Tensor>>][] = [
      ['parameters', this.task.parameters.state()],
      ['optimiser', this.optimiser.state()],
      ...this.options.methods.map(
        (method) => [`method/${method.name}`, method.state?.() ?? {}] satisfies [string, object],
      ),
    ]
    return Object.fromEntries(
      parts.flatMap(([part, tensors]) =>
        Object.entries(tensors).map(([path, tensor]) => [`${part}/${path}`, tensor] as const),
      ),
    )
  }

  position(): TrainerPosition {
    const { loader, seed } = this.options
    return {
      step: this.step,
      skippedInRow: this.faults.inRow,
      seed,
      loader: loader.state(),
      streams: [...this.streams.values()].map((stream) => stream.state()),
    }
  }

  /**
   * Goes on where `state` and `position` were taken.
   *
   * @throws StateError where they are those of another training
   */
  load(saved: Readonly<Record<string, Tensor>>, position: TrainerPosition): void {
    const { methods, loader, seed } = this.options
    if (position.seed !== seed)
      throw new StateError(`seed: the saved state has ${position.seed}, the run asks for ${seed}`, {
        code: 'PARE_E_STATE_SEED',
        facts: { saved: position.seed, asked: seed },
      })
    const part = (name: string) =>
      Object.fromEntries(
        Object.entries(saved).flatMap(([path, tensor]) =>
          path.startsWith(`${name}/`) ? [[path.slice(name.length + 1), tensor] as const] : [],
        ),
      )
    this.task.parameters.load(part('parameters'))
    this.optimiser.load(part('optimiser'))
    this.step = position.step
    this.faults.inRow = position.skippedInRow
    for (const state of position.streams) this.stream(state.name).load(state)
    loader.load(position.loader)
    this.prepare()
    for (const method of methods) method.load?.(part(`method/${method.name}`))
  }

  dispose(): void {
    if (this.prepared) keepFreedMemory(false)
    for (const method of this.options.methods) method.dispose?.()
    this.optimiser.dispose()
  }

  private prepare(): void {
    if (this.prepared) return
    for (const method of this.options.methods) method.prepare?.(this.context(this.epoch))
    // Every step takes tensors of the same sizes.
    keepFreedMemory(true)
    this.prepared = true
  }

  private learn(batches: readonly B[], epoch: number): StepReport {
    const { methods, loader, collective, clip } = this.options
    const context = this.context(epoch)
    const restore = keptBuffers(this.task.parameters)
    const { loss, gradients: own } = meanGradients(this.task.parameters, batches, (batch) =>
      this.loss(batch, context),
    )
    const changed = methods.reduce((all, method) => method.gradients?.(all, context) ?? all, own)
    const reducer = methods.find(({ reduce }) => reduce)
    const reduced = reducer ? reducer.reduce!(changed, context) : collective.allReduce(changed)
    const found = gradientNorm(reduced)
    const { norm } = found
    const samples = batches.reduce((sum, { ids }) => sum + ids.length, 0)
    const work = batches.map(
      (batch) => this.task.work?.(batch) ?? { units: batch.ids.length, unit: 'samples' },
    )
    const report = {
      epoch,
      loss,
      gradientNorm: norm,
      samples,
      work: { unit: work[0]!.unit, units: work.reduce((sum, { units }) => sum + units, 0) },
    }
    const fault = this.faults.found(this.step + 1, loss, found, restore)
    if (!fault) this.update(reduced, clip === undefined ? 1 : clipFactor(norm, clip), context)
    this.step++
    const after = this.context(epoch)
    if (!fault) for (const method of methods) method.afterUpdate?.(after)
    for (const method of methods)
      for (const event of method.events ?? []) if (isDue(event, this.step)) event.run(after)
    if (loader.epoch > epoch) for (const method of methods) method.endOfEpoch?.(this.context(loader.epoch))
    return { step: this.step, ...report, ...(fault && { skipped: fault.message }) }
  }

  private update(gradients: ReadonlyMap<string, Tensor>, scale: number, context: StepContext): void {
    const { methods } = this.options
    // A method that looks at what the optimiser gets wants numbers, not a factor beside them.
    const watched = methods.some(({ clipped, update }) => clipped || update)
    const scaled =
      watched && scale !== 1
        ? new Map([...gradients].map(([path, gradient]) => [path, gradient.mul(scale)]))
        : gradients
    const last = methods.reduce((all, method) => method.clipped?.(all, context) ?? all, scaled)
    const step = (all: ReadonlyMap<string, Tensor>) => this.optimiser.step(all, watched ? {} : { scale })
    const own = methods.find(({ update }) => update)
    if (own) own.update!(last, step, context)
    else step(last)
  }

  private loss(batch: B, context: StepContext): Tensor {
    const losses = this.task.losses(batch, context)
    const counts = this.task.counts?.(batch)
    const weights = this.options.methods.reduce<Tensor | undefined>((product, method) => {
      if (!method.weigh) return product
      const own = unrecorded(() => method.weigh!(losses, batch, context))
      return product ? product.mul(own) : own
    }, counts)
    if (!weights) return losses.mean()
    // bf16 would round counts from 257 on.
    const wide = (x: Tensor) => x.cast(losses.dtype === 'f64' ? 'f64' : 'f32')
    return wide(losses)
      .mul(wide(weights))
      .sum()
      .div(totalOf(wide(weights)))
  }

  private context(epoch: number): StepContext {
    const { step, task, optimiser } = this
    const { parameters, layers = [] } = task
    return { step, epoch, parameters, layers, optimiser, stream: (name) => this.stream(name) }
  }

  private stream(name: string): RandomStream {
    const known = this.streams.get(name)
    if (known) return known
    const stream = randomStream(this.options.seed, name)
    this.streams.set(name, stream)
    return stream
  }
}

/** The sum, or 1 where every weight is 0: the loss of a batch that says nothing is 0, and so are its gradients. */
function totalOf(weights: Tensor): Tensor {
  const nothing = weights.abs().sum().equal(0)
  return weights.sum().add(nothing.cast(weights.dtype))
}
