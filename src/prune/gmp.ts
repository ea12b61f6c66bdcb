/**
 * Gradual magnitude pruning: the smallest weights go while the network trains, on a cubic schedule (Zhu and Gupta 2017,
 * arXiv:1710.01878, section 3).
 *
 *   at t in {t_0, t_0 + dt, .., t_0 + n dt}, before the forward of step t, for each tensor w of N weights:
 *     s     s_f + (s_i - s_f) (1 - (t - t_0) / (n dt))^3          equation 1
 *     k     max(1, round(N (1 - s)))
 *     M     1 where |w| is at least the k-th largest |w|          all ties stay
 *   at every step   w <- w M, before the forward and after the optimiser; gradients <- gradients M, before clipping
 *
 * Differs from the paper's code: weights that are zero by chance do not bring pruned ones back, so that masks are nested;
 * an update happens at `end` also where dt does not divide the way there; blocks begin at the first row and column.
 *
 * Place begin at 5 to 10% of the steps and end at about 75%: while masks change, the learning rate has to be high enough
 * to recover (section 3 of the paper).
 */
import type { StepContext } from '../optim/training_method.ts'
import { OptionError } from '../tensor/errors.ts'
import { type Shape, scope } from '../tensor/index.ts'
import { spread } from './distribution.ts'
import { checkSparsity, type Ties } from './mask.ts'
import { maskSchedule } from './mask_schedule.ts'
import { MaskSet } from './mask_set.ts'
import type { PruningMethod } from './masked_training.ts'
import { checkPattern, groupedExtent, maskOf, type Pattern, unstructured } from './pattern.ts'
import type { Selection } from './selection.ts'

export interface GmpOptions {
  /** s_f: share of zeros in each pruned tensor from `end` on, in [0, 1). */
  sparsity: number
  /** s_i: share at `begin`, in [0, sparsity]. @default 0 */
  from?: number
  /** t_0: whole, from 0 on. @default 0 */
  begin?: number
  /** t_0 + n dt: steps that are done at the last update; whole, above `begin`, at most those of the training. */
  end: number
  /** dt: steps between updates; whole, from 1 on. @default 100 */
  every?: number
  /** Exponent of the schedule, above 0. @default 3 */
  power?: number
  /**
   * Which tensors; leave out what is small (the first convolution, depthwise ones, the classifier).
   *
   * @default all with two axes or more: neither biases nor norms
   */
  selection?: Selection
  /** n:m masks are made once, at `begin`, and stay. @default unstructured */
  pattern?: Pattern
  /** What an n:m pattern does with a tensor whose axis m does not divide. @default 'refuse' */
  ungrouped?: 'refuse' | 'unstructured'
  /** @default 'all', and 'lowest' in n:m */
  ties?: Ties
  /** Keeps masks at one bit a weight instead of a byte. @default false */
  packed?: boolean
}

/**
 * Gradual magnitude pruning as a training method. Parameters hold the zeros after every step, so that evaluation,
 * averages and exports see them; a later training needs a method that keeps them.
 *
 * @throws OptionError for numbers out of their range; from the first step where patterns take nothing or do not fit
 * @example
 * const method = gmp({ sparsity: 0.9, begin: 50, end: 750, every: 25, selection: { except: 'classifier' } })
 * const trainer = new Trainer({ task, loader, optimiser, methods: [method] })
 */
export function gmp(options: GmpOptions): PruningMethod {
  const { selection = {}, pattern = unstructured, ungrouped = 'refuse', packed = false } = options
  const { time, ties } = checked(options)
  const masks = new MaskSet({ packed })
  let targets: ReadonlyMap<string, number> = new Map()

  const patternFor = (shape: Shape): Pattern =>
    ungrouped === 'unstructured' && !groups(pattern, shape) ? unstructured : pattern
  const prune = ({ parameters, step }: StepContext) => {
    const isFirst = step === (options.begin ?? 0)
    for (const [path, target] of targets) {
      const { state } = parameters.get(path)
      const own = patternFor(state.shape)
      if (own.kind === 'n:m' && !isFirst) continue
      const values = scope(() => state.tensor().abs().toArray()) as Float32Array | Float64Array
      const before = masks.mask(path)
      // Below every magnitude, so that what is pruned stays so.
      const scores = { values: values.map((size, i) => (before[i] ? size : -1)), shape: state.shape }
      const sparsity = own.kind === 'n:m' ? target : time.sparsity(step, target)
      masks.set(path, maskOf(scores, sparsity, own, own === pattern ? ties : 'all'))
    }
    masks.applyTo(parameters)
  }

  return {
    name: 'gmp',
    prepare(context) {
      const { parameters, step } = context
      const shapes = new Map([...parameters.tensors()].map(([path, { shape }]) => [path, shape]))
      masks.dispose()
      targets = spread(options.sparsity, shapes, { kind: 'uniform', ...selection })
      for (const path of targets.keys()) masks.add(path, parameters.get(path).state)
      if (step === 0 && time.updates(0)) prune(context)
    },
    gradients: (gradients) => masks.masked(gradients),
    afterUpdate: ({ parameters }) => masks.applyTo(parameters),
    events: [
      {
        every: 1,
        run(context) {
          if (time.updates(context.step)) prune(context)
        },
      },
    ],
    state: () => masks.state(),
    load: (saved) => masks.load(saved),
    masks: () => masks.masks(),
    dispose: () => masks.dispose(),
  }
}

function checked(options: GmpOptions) {
  const { sparsity, from = 0, begin, end, every, power, pattern = unstructured } = options
  checkSparsity('gmp', sparsity)
  if (!(from >= 0 && from <= sparsity))
    throw new OptionError(`gmp: from must be in [0, ${sparsity}], got ${from}; a mask never shrinks`)
  checkPattern('gmp', pattern)
  const time = maskSchedule({
    kind: 'polynomial',
    convention: 'gmp',
    from,
    end,
    ...(begin !== undefined && { begin }),
    ...(every !== undefined && { every }),
    ...(power !== undefined && { power }),
  })
  return { time, ties: options.ties ?? (pattern.kind === 'n:m' ? ('lowest' as const) : ('all' as const)) }
}

/** Whether a tensor can be cut into the groups of a pattern. */
const groups = (pattern: Pattern, shape: Shape): boolean =>
  pattern.kind !== 'n:m' || groupedExtent(shape, pattern.axis).extent % pattern.m === 0
