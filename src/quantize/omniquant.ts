/**
 * OmniQuant's learned weight clipping: the range of every group of weights is trained on what its block puts out.
 *
 *   h = (gamma max w - beta min w) / (2^bits - 1),  zero = -round(beta min w / h)     Shao et al. 2024, arXiv:2308.13137, eq. 2
 *   gamma = sigmoid(u),  beta = sigmoid(l),  u = l = 4 at the start
 *   loss = |block_q(x_q) - block(x)|^2, mean                                           eq. 1
 *
 * x_q are inputs from quantised blocks before, x those of the source on its own. W is [out, in] and finite; groups run along
 * `in`, and 0 is in every range. AdamW with rate 1e-2 and no decay; gradients go straight through all roundings. Differs from
 * the published code: after every pass the loss on all samples is measured, and the best numbers are kept; zeros have a
 * gradient, see nn/clipped_grid.ts. Activations stay as they are, so that equivalent scales are not learned.
 *
 * Cost: a step computes a block forth and back, and rounds all its weights. One block of SmolLM2-135M at 3 bits took 5.0 s of
 * processor time a pass over 16 samples of 512 tokens, with the loss after it (EPYC, two cores, passes 1 to 16). 64 samples, 20
 * passes and 30 blocks come to 12,100 s, near two hours on two cores. Beside the stage it holds the codes and the numbers of
 * each weight, the activations of a step with their gradients, and two numbers a group with as many moments.
 */
import type { WeightMethod } from '../calibrate/method.ts'
import type { StageTuner, StageTuning, TuningHooks } from '../calibrate/stage_tuner.ts'
import type { StageSamples } from '../calibrate/walk.ts'
import { runStage, type Stage } from '../models/stage.ts'
import { type ClippedSource, clippedSource, clipToGrid, groupsOf } from '../nn/clipped_grid.ts'
import type { AffineGrid } from '../nn/grid.ts'
import type { Linear } from '../nn/linear.ts'
import { Parameters } from '../nn/parameters.ts'
import { maskedGrid } from '../nn/values/masked_grid.ts'
import { type StoredSource, storedSource } from '../nn/values/values.ts'
import { denseSource } from '../nn/weight_source.ts'
import { adamW } from '../optim/adam.ts'
import { fit as descend } from '../optim/fit.ts'
import { OptionError } from '../tensor/errors.ts'
import { full, randomStream, scope, type Tensor } from '../tensor/index.ts'

export interface OmniquantOptions {
  /** Learning rate of AdamW, above 0. Smaller where the loss jumps. @default 1e-2 */
  rate?: number
  /**
   * Passes over the samples, from 0 on; 0 rounds to nearest in ranges of 0.982 of the weights'. Time is in proportion.
   * @default 20, or 40 for blocks with weights at 2 bits
   */
  epochs?: number
  /** Sequences of a step, from 1 on. More take fewer steps, each less often rounded, and learn less a pass. @default 1 */
  batch?: number
  /** Draws the order of the sequences. @default 0 */
  seed?: number
}

type Settings = Required<Omit<OmniquantOptions, 'epochs'>> & { epochs: number | undefined }

/** Logits of gamma and beta before anything is learned: a share of 0.982. */
const START = 4

/** A weight before its ranges are learned, as it would be stored. */
interface StartingSource extends StoredSource {
  readonly clipping: {
    readonly weight: Tensor
    readonly grid: AffineGrid
    readonly mask: Uint8Array | undefined
  }
}

/**
 * Rounds to nearest in the ranges that training starts from. `omniquantTuner` learns them.
 *
 * @throws OptionError here for impossible options, from `compress` for grids that are no evenly spaced levels or that search
 * their ranges; NumericalError where the weight is not finite
 * @example omniquant().compress({ name, dense, current: dense, statistics, grid: affineGrid({ bits: 3 }) })
 */
export function omniquant(options: OmniquantOptions = {}): WeightMethod {
  settingsOf(options)
  return {
    name: 'omniquant',
    // Training needs the text, and the report measures errors on it.
    needs: ['squares'],
    compress({ name, current, mask, grid: asked }) {
      const grid = affineOf(name, asked)
      const shape = [current.extent(0), groupsOf(grid, current.extent(1))]
      const { values, dense } = scope(() => {
        const logits = full(shape, START, current.dtype)
        return clipToGrid(current, grid, { upper: logits, lower: logits })
      })
      const stored = storedSource(mask ? maskedGrid(values, mask) : values)
      const source: StartingSource = {
        ...stored,
        clipping: { weight: current, grid, mask },
        resources: () => [...stored.resources(), current],
      }
      return { source, decoded: dense, ...(mask ? { mask } : {}), diagnostics: { notes: [] } }
    },
  }
}

/**
 * Learns the ranges of the weights of a stage that `omniquant` rounded, for `tune` of a walk with the target 'dense'.
 *
 * @returns nothing for 0 epochs
 * @throws OptionError for impossible options; from `tune` NumericalError where the loss is not finite, AbortError when the
 * signal stops it
 * @example omniquantTuner({ epochs: 20 })?.tune(stage, samples, {})
 */
export function omniquantTuner(options: OmniquantOptions = {}): StageTuner | undefined {
  const settings = settingsOf(options)
  if (settings.epochs === 0) return undefined
  return {
    name: 'omniquant',
    target: 'dense',
    tune(stage, samples, hooks) {
      const linears = stage.segments.flatMap((segment) => segment.linears).filter(isStarting)
      return linears.length > 0 ? learn(stage, linears, samples, settings, hooks) : undefined
    },
  }
}

const isStarting = ({ source }: Linear): boolean => (source as Partial<StartingSource>).clipping !== undefined

/** Sequences `start` to `end` of a batch of the walk. */
interface Piece {
  batch: number
  start: number
  end: number
}

function learn(
  stage: Stage,
  linears: readonly Linear[],
  samples: StageSamples,
  { rate, epochs: asked, batch: size, seed }: Settings,
  { signal, progress }: TuningHooks,
): StageTuning {
  const { pieces, accumulate } = piecesOf(samples, size)
  const parameters = new Parameters()
  const trained = linears.map((linear) => trainable(linear, parameters))
  const epochs = asked ?? (trained.some(({ clipping: { grid } }) => grid.bits === 2) ? 40 : 20)
  const optimiser = adamW({ rate, decay: 0 })(parameters)
  const lossOf = ({ batch, start, end }: Piece) => {
    const part = (x: Tensor) => x.slice(0, start, end)
    const output = runStage(stage, part(samples.input(batch)), samples.context(batch))
    return output
      .sub(part(samples.target(batch)))
      .square()
      .mean()
  }
  /** Over all samples, each weight rounded once. */
  const judge = (): number =>
    scope(() => {
      for (const { linear, source } of trained) linear.source = denseSource(source.stored().dense)
      let [sum, count] = [0, 0]
      for (let batch = 0; batch < samples.count; batch++)
        scope(() => {
          const end = samples.input(batch).extent(0)
          sum += end * lossOf({ batch, start: 0, end }).item()
          count += end
        })
      for (const { linear, source } of trained) linear.source = source
      return sum / count
    })
  try {
    const random = randomStream(seed, 'omniquant')
    const losses = [judge()]
    const steps = Math.ceil(pieces.length / accumulate)
    let kept = 0
    scope(() => {
      let best = parameters.state()
      for (let epoch = 1; epoch <= epochs; epoch++) {
        const order = [...scope(() => random.permutation(pieces.length).toArray() as Uint32Array)]
        descend({
          parameters,
          optimiser,
          loader: { next: () => pieces[order.pop() ?? -1] },
          loss: lossOf,
          steps,
          accumulate,
          onStep: ({ step }) => progress?.((epoch - 1 + step / steps) / epochs),
          ...(signal && { signal }),
        })
        losses.push(judge())
        if (losses[epoch]! < losses[kept]!) [kept, best] = [epoch, parameters.state()]
      }
      parameters.load(best)
    })
    for (const { linear, source, clipping } of trained)
      linear.source = scope(() => {
        const { values } = source.stored()
        return storedSource(clipping.mask ? maskedGrid(values, clipping.mask) : values)
      })
    return { losses, kept, floats: [] }
  } finally {
    optimiser.dispose()
    parameters.dispose()
  }
}

/** Puts a source whose ranges can be trained into a layer. */
function trainable(
  linear: Linear,
  parameters: Parameters,
): { linear: Linear; source: ClippedSource; clipping: StartingSource['clipping'] } {
  const { clipping } = linear.source as StartingSource
  const { weight, grid } = clipping
  const start = full([weight.extent(0), groupsOf(grid, weight.extent(1))], START, weight.dtype)
  const source = clippedSource(weight, grid, {
    upper: parameters.add(`${linear.name}.upper`, start),
    lower: parameters.add(`${linear.name}.lower`, start),
  })
  start.dispose()
  linear.source = source
  return { linear, source, clipping }
}

/** Steps of so many sequences, of batches that may hold fewer or more. */
function piecesOf(samples: StageSamples, size: number): { pieces: Piece[]; accumulate: number } {
  const pieces: Piece[] = []
  let longest = 1
  for (let batch = 0; batch < samples.count; batch++) {
    const count = scope(() => samples.input(batch).extent(0))
    longest = Math.max(longest, Math.min(size, count))
    for (let start = 0; start < count; start += size)
      pieces.push({ batch, start, end: Math.min(count, start + size) })
  }
  return { pieces, accumulate: Math.max(1, Math.round(size / longest)) }
}

function affineOf(name: string, grid: AffineGrid | { kind: 'blocks'; type: string } | undefined): AffineGrid {
  if (grid?.kind === 'affine' && !grid.search) return grid
  throw grid?.kind === 'affine'
    ? new OptionError(`${name}: omniquant learns the ranges, which --search would choose; leave it out`)
    : new OptionError(
        `${name}: omniquant learns ranges of evenly spaced levels, got ${grid ? `blocks of ${grid.type}` : 'no grid'}; choose another target than gguf and llama.cpp, or --method gptq`,
      )
}

/** @throws OptionError for what cannot be */
function settingsOf({ rate = 1e-2, epochs, batch = 1, seed = 0 }: OmniquantOptions): Settings {
  if (!(rate > 0 && Number.isFinite(rate)))
    throw new OptionError(`omniquant: the rate must be above 0, got ${rate}; 0.01 is usual`)
  const counts = { epochs: [epochs ?? 0, 0], batch: [batch, 1], seed: [seed, 0] } as const
  for (const [name, [value, least]] of Object.entries(counts))
    if (!(Number.isSafeInteger(value) && value >= least))
      throw new OptionError(`omniquant: ${name} must be a whole number from ${least} on, got ${value}`)
  return { rate, epochs, batch, seed }
}
