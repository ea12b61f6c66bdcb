/**
 * Distances of the hidden states of two models, place by place: s of the student, t of the teacher, each [width].
 *
 *   mse          mean((s - t)^2)
 *   normalised   mean((s - t)^2) / (mean(t^2) + epsilon), the latter mean over all places of the batch: SquareHead
 *                (Kurtic et al. 2023, arXiv:2310.06927, section 2)
 *   cosine       1 - s t / (|s| |t|)
 */
import { OptionError, ShapeError } from '../tensor/errors.ts'
import { sameShape, scope, showShape, type Tensor, unrecorded } from '../tensor/index.ts'
import { bySamples, meanOfRows } from './sample_means.ts'

export const hiddenLossKinds = ['mse', 'normalised', 'cosine'] as const
export type HiddenLossKind = (typeof hiddenLossKinds)[number]

export interface HiddenLossOptions {
  /** @default 'normalised' */
  kind?: HiddenLossKind | undefined
  /** Places that hold no padding, bool [samples, ..]; the others count nothing, whatever stands there. @default all */
  attended?: Tensor | undefined
  /** Beside the mean square of the teacher, at least 0. @default 2^-7, as in the code of the paper */
  epsilon?: number | undefined
}

/** Below this product of squared norms there is no direction. */
const noDirection = 1e-16

/**
 * The loss of each sample, [samples], as the mean over its places: student and teacher [samples, .., width]. No gradient
 * flows to the teacher. In f32, or f64 for a student in f64.
 *
 * @throws ShapeError where shapes do not fit; OptionError for an epsilon below 0.
 * @example const losses = hiddenLosses(student, teacher, { kind: 'normalised' })
 */
export function hiddenLosses(student: Tensor, teacher: Tensor, options: HiddenLossOptions = {}): Tensor {
  const { kind = 'normalised', attended, epsilon = 2 ** -7 } = options
  checkHiddenLoss(options)
  if (student.rank < 2 || !sameShape(student.shape, teacher.shape))
    throw new ShapeError(
      `hidden states: need two of one shape [samples, .., width], got ${showShape(student.shape)} of the student and ${showShape(teacher.shape)} of the teacher`,
    )
  const places = student.shape.slice(0, -1)
  if (attended && !(attended.dtype === 'bool' && sameShape(attended.shape, places)))
    throw new ShapeError(
      `hidden states: attended needs bool ${showShape(places)}, got ${attended.dtype} ${showShape(attended.shape)}`,
    )
  const wide = student.dtype === 'f64' ? 'f64' : 'f32'
  const shown = (x: Tensor) => (attended ? attended.unsqueeze(-1).where(x, 0) : x).cast(wide)
  return scope(() => {
    const [s, t] = [shown(student), unrecorded(() => shown(teacher))]
    const counts = attended && bySamples(attended.cast(wide)) // [samples, places]
    const means = (losses: Tensor) => meanOfRows(counts ? bySamples(losses).mul(counts) : losses, attended)
    if (kind === 'cosine') {
      const cosines = s.mul(t).sum(-1).div(normProducts(s, t))
      return means(cosines.neg().add(1))
    }
    const losses = means(s.sub(t).square().mean(-1))
    if (kind === 'mse') return losses
    const scale = unrecorded(() => {
      const squares = t.square().mean(-1)
      return counts ? squares.sum().div(counts.sum().maximum(1)) : squares.mean()
    })
    return losses.div(scale.add(epsilon))
  })
}

/** @throws OptionError for an epsilon below 0, or a loss that is none */
export function checkHiddenLoss({ epsilon = 0, kind = 'mse' }: HiddenLossOptions): void {
  if (!(epsilon >= 0 && Number.isFinite(epsilon)))
    throw new OptionError(`epsilon: needs a number from 0 on, got ${epsilon}`)
  if (!hiddenLossKinds.includes(kind))
    throw new OptionError(`loss: needs ${hiddenLossKinds.join(', ')}, got ${kind}`)
}

/** |s| |t| of each place. */
const normProducts = (s: Tensor, t: Tensor): Tensor =>
  s.square().sum(-1).mul(t.square().sum(-1)).clamp({ min: noDirection }).sqrt()
