/**
 * Tuning of what AQLM made, codes fixed: codebooks, scales, norms and biases learn from outputs.
 *
 *   a block    |block(x) - target|^2, mean; the target is the source's block on the same inputs
 *   a model    KL(source || model) over the vocabulary, mean over tokens
 *
 * Egiazarian et al. 2024, arXiv:2401.06118, section 3.3 and appendix A. Adam with rate 1e-5 and betas 0.9 and 0.95.
 */
import type {
  ModelSamples,
  ModelTuner,
  StageTuner,
  StageTuning,
  TuningHooks,
} from '../calibrate/stage_tuner.ts'
import type { StageSamples } from '../calibrate/walk.ts'
import { runStage, type Stage } from '../models/stage.ts'
import { floatsOf, type StageFloat } from '../models/stage_floats.ts'
import { type CodebookSource, codebookSource } from '../nn/codebook_source.ts'
import { divergence } from '../nn/divergence.ts'
import type { Linear } from '../nn/linear.ts'
import { Parameters } from '../nn/parameters.ts'
import { type StoredSource, storedSource } from '../nn/values/values.ts'
import { adam } from '../optim/adam.ts'
import { fit as descend } from '../optim/fit.ts'
import { OptionError } from '../tensor/errors.ts'
import { randomStream, scope, type Tensor } from '../tensor/index.ts'

export interface TuningOptions {
  /** Learning rate, above 0. 1e-4 for models of some million weights. @default 1e-5 */
  rate?: number
  /** Passes over the batches, at most; from 0 on. @default 5 */
  epochs?: number
  /** Passes without a better loss on the held batches after which it ends; from 1 on. @default 3 */
  patience?: number
  /** Share of the batches, the last ones, that only judge; 0 to below 1. Without any the last pass is kept. @default 0.125 */
  held?: number
  /** Batches of one step, whose gradients are averaged; from 1 on. @default 1 */
  accumulate?: number
  /** Draws the order of the batches. @default 0 */
  seed?: number
}

/** `losses` are those on the held batches, or on all where none are. */
export type TuningResult = StageTuning

/**
 * Tunes each stage of a walk that holds codebooks.
 *
 * @returns nothing for 0 epochs
 * @throws OptionError for impossible options
 * @example blockTuner({ epochs: 5 })?.tune(stage, samples, {})
 */
export function blockTuner(options: TuningOptions = {}): StageTuner | undefined {
  const settings = settingsOf(options)
  if (settings.epochs === 0) return undefined
  return {
    name: 'aqlm',
    target: 'denseOnCurrent',
    tune: (stage, samples, hooks) =>
      linearsOf([stage]).some(holdsCodebooks) ? tuneBlock(stage, samples, settings, hooks) : undefined,
  }
}

/**
 * Tunes one stage whose linear layers hold codebooks: for `tune` of a walk with targets. Sources, norms and biases of the
 * stage are exchanged for tuned ones, which belong to the caller's scope; sources are rounded to f16 as they are stored.
 *
 * @throws OptionError for impossible options, or a stage without codebooks
 * @example walk({ ..., target: 'denseOnCurrent', visitor: { ..., tune: (stage, samples) => tuneBlock(stage, samples) } })
 */
export function tuneBlock(
  stage: Stage,
  samples: StageSamples,
  options: TuningOptions = {},
  hooks: TuningHooks = {},
): TuningResult {
  const loss = (batch: number) =>
    runStage(stage, samples.input(batch), samples.context(batch)).sub(samples.target(batch)).square().mean()
  return tune([stage], samples.count, loss, options, hooks)
}

/**
 * Tunes a model whose weights all have their codes.
 *
 * @returns nothing for 0 epochs
 * @throws OptionError for impossible options
 * @example modelTuner({ epochs: 5, accumulate: 8 })?.tune(stages, samples, {})
 */
export function modelTuner(options: TuningOptions = {}): ModelTuner | undefined {
  const settings = settingsOf(options)
  if (settings.epochs === 0) return undefined
  return { name: 'aqlm', tune: (stages, samples, hooks) => tuneModel(stages, samples, settings, hooks) }
}

/**
 * Tunes all stages of a model at once, towards the distributions of its source.
 *
 * @throws OptionError as of `tuneBlock`
 * @example tuneModel(model.stages, { count, student, teacher }, { epochs: 5, accumulate: 8 })
 */
export function tuneModel(
  stages: readonly Stage[],
  { count, student, teacher }: ModelSamples,
  options: TuningOptions = {},
  hooks: TuningHooks = {},
): TuningResult {
  return tune(stages, count, (batch) => divergence(student(batch), teacher(batch)).mean(), options, hooks)
}

function tune(
  stages: readonly Stage[],
  count: number,
  lossOf: (batch: number) => Tensor,
  options: TuningOptions,
  { signal, progress }: TuningHooks,
): TuningResult {
  const { rate, epochs, patience, held, accumulate, seed } = settingsOf(options)
  const judged = Math.floor(held * count)
  const [trained, judges] = [count - judged, judged > 0 ? judged : count]
  if (trained < 1) throw new OptionError(`tuning: at least one batch is needed to train on, got ${trained}`)
  const parameters = new Parameters()
  const opened = open(stages, parameters)
  const optimiser = adam({ rate, betas: [0.9, 0.95] })(parameters)
  try {
    const random = randomStream(seed, 'tuning')
    const judge = () => {
      let sum = 0
      for (let i = 0; i < judges; i++) sum += scope(() => lossOf(judged > 0 ? trained + i : i).item())
      return sum / judges
    }
    const steps = Math.ceil(trained / accumulate)
    const losses = [judge()]
    return scope(() => {
      let [kept, best] = [0, parameters.state()]
      for (let epoch = 1; epoch <= epochs; epoch++) {
        const order = [...scope(() => random.permutation(trained).toArray() as Uint32Array)]
        descend({
          parameters,
          optimiser,
          loader: { next: () => order.pop() },
          loss: lossOf,
          steps,
          accumulate,
          onStep: ({ step }) => progress?.((epoch - 1 + step / steps) / epochs),
          ...(signal && { signal }),
        })
        losses.push(judge())
        if (judged === 0 || losses[epoch]! < losses[kept]!) [kept, best] = [epoch, parameters.state()]
        else if (epoch - kept >= patience) break
      }
      parameters.load(best)
      return { losses, kept, floats: opened.floats }
    })
  } finally {
    opened.close()
    optimiser.dispose()
    parameters.dispose()
  }
}

const linearsOf = (stages: readonly Stage[]): Linear[] =>
  stages.flatMap(({ segments }) => segments.flatMap(({ linears }) => linears))
const holdsCodebooks = ({ source }: Linear): boolean =>
  (source as Partial<StoredSource>).values?.kind === 'codebook'

/** Puts trainable sources and floats into the stages; `close` puts what became of them there for good. */
function open(
  stages: readonly Stage[],
  parameters: Parameters,
): { floats: readonly StageFloat[]; close(): void } {
  const sources: [Linear, CodebookSource][] = []
  for (const linear of linearsOf(stages)) {
    const { values } = linear.source as Partial<StoredSource>
    if (values?.kind !== 'codebook') continue
    const { codes, bits } = values
    const codebooks = parameters.add(`${linear.name}.codebooks`, values.codebooks)
    const scales = parameters.add(`${linear.name}.scales`, values.scales)
    const source = codebookSource({ codes, codebooks, scales }, bits)
    linear.source = source
    sources.push([linear, source])
  }
  if (sources.length === 0)
    throw new OptionError('tuning: no layer of these stages holds codebooks; compress them with aqlm first')
  const floats = stages.flatMap(floatsOf).map((float): [StageFloat, Tensor] => {
    const tensor = parameters.add(float.name, float.get().cast('f32'))
    float.set(tensor)
    return [float, tensor]
  })
  return {
    floats: floats.map(([float]) => float),
    close() {
      for (const [linear, source] of sources) linear.source = storedSource(source.values())
      for (const [float] of floats) float.set(parameters.get(float.name).state.value())
    },
  }
}

/** @throws OptionError for what cannot be */
function settingsOf(options: TuningOptions): Required<TuningOptions> {
  const { rate = 1e-5, epochs = 5, patience = 3, held = 0.125, accumulate = 1, seed = 0 } = options
  const counts = { epochs: [epochs, 0], patience: [patience, 1], accumulate: [accumulate, 1] } as const
  for (const [name, [value, least]] of Object.entries(counts))
    if (!(Number.isSafeInteger(value) && value >= least))
      throw new OptionError(`tuning: ${name} must be a whole number from ${least} on, got ${value}`)
  if (!(rate > 0 && Number.isFinite(rate)))
    throw new OptionError(`tuning: the rate must be above 0, got ${rate}; 1e-5 is usual`)
  if (!(held >= 0 && held < 1)) throw new OptionError(`tuning: held must be from 0 to below 1, got ${held}`)
  return { rate, epochs, patience, held, accumulate, seed }
}
