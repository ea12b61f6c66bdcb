/**
 * Kullback-Leibler divergence between the predictions of two models, as knowledge distillation has it (Hinton et al.
 * 2015, arXiv:1503.02531, section 2): with p = softmax(teacher / T) and q = softmax(student / T)
 *
 *   forward   T^2 sum(p (log p - log q))     gradient of the student's logits  T (q - p)
 *   reverse   T^2 sum(q (log q - log p))                                       T q (log q - log p - sum(q (log q - log p)))
 *
 * The factor T^2 keeps the size of the gradient for any T.
 */
import { OptionError, ShapeError } from '../tensor/errors.ts'
import {
  concat,
  customGradient,
  gather,
  logSoftmax,
  sameShape,
  scope,
  showShape,
  type Tensor,
  topK,
  unrecorded,
} from '../tensor/index.ts'

export type DivergenceKind = 'forward' | 'reverse'

export interface DivergenceOptions {
  /** T, which both logits are divided by; above 0. @default 1 */
  temperature?: number | undefined
  /**
   * Forward, KL(teacher || student), spreads the student over all that the teacher holds likely; reverse, KL(student ||
   * teacher), keeps it to where the teacher is. @default 'forward'
   */
  kind?: DivergenceKind | undefined
  /** The teacher's likeliest classes, among which both are normalised anew; whole, from 1 on. @default all classes */
  topK?: number | undefined
  /** Rows that count, bool [..]; the others have loss and gradient 0, whatever stands there. @default all */
  counted?: Tensor | undefined
}

/** Numbers of one chunk: of these come a handful of temporary tensors. */
const chunk = 2 ** 21

/**
 * The divergence in nats of each row of logits [.., classes]: [..], in f32, or f64 for logits in f64. No gradient flows to
 * the teacher. For the way back one number a logit is kept.
 *
 * @throws OptionError for a temperature or topK out of range; ShapeError where the logits differ in shape.
 * @example const losses = divergence(student.logits(ids), teacher.logits(ids), { temperature: 2 })
 */
export function divergence(student: Tensor, teacher: Tensor, options: DivergenceOptions = {}): Tensor {
  const { temperature = 1, kind = 'forward', topK: most, counted } = options
  checkDivergence(options)
  if (student.rank === 0 || !sameShape(student.shape, teacher.shape))
    throw new ShapeError(
      `divergence: needs two logits [.., classes] of one shape, got ${showShape(student.shape)} and ${showShape(teacher.shape)}`,
    )
  const rows = student.shape.slice(0, -1)
  if (counted && !(counted.dtype === 'bool' && sameShape(counted.shape, rows)))
    throw new ShapeError(
      `divergence: counted needs bool ${showShape(rows)}, got ${counted.dtype} ${showShape(counted.shape)}`,
    )
  return scope(() => {
    const [own, other] =
      most !== undefined && most < student.extent(-1) ? likeliest(student, teacher, most) : [student, teacher]
    const operation = customGradient({
      name: 'divergence',
      forward: ([x]: readonly [Tensor]) => {
        const [losses, slopes] = inChunks(x, other, kind, temperature)
        const keep = (y: Tensor) => (counted ? masked(y, counted) : y)
        return { output: keep(losses), saved: [keep(slopes)] as const }
      },
      backward: ({ saved: [slopes], gradient }) => [gradient.unsqueeze(-1).mul(slopes).cast(student.dtype)],
    })
    return operation(own)
  })
}

/** @throws OptionError for a temperature or topK out of range */
export function checkDivergence({ temperature = 1, topK, kind = 'forward' }: DivergenceOptions): void {
  if (!(temperature > 0 && Number.isFinite(temperature)))
    throw new OptionError(`temperature: needs a number above 0, got ${temperature}`)
  if (topK !== undefined && !(Number.isSafeInteger(topK) && topK >= 1))
    throw new OptionError(`topK: needs a whole number from 1 on, got ${topK}`)
  if (kind !== 'forward' && kind !== 'reverse')
    throw new OptionError(`kind: needs forward or reverse, got ${kind}`)
}

/** The logits of both for the classes that the teacher holds likeliest, [.., k]. */
function likeliest(student: Tensor, teacher: Tensor, k: number): [Tensor, Tensor] {
  const { values, indices } = unrecorded(() => topK(teacher, k))
  return [gather(student, -1, indices), values]
}

const masked = (x: Tensor, counted: Tensor): Tensor =>
  (x.rank === counted.rank ? counted : counted.unsqueeze(-1)).where(x, 0)

/** Losses [..] and their gradients [.., classes]. */
function inChunks(x: Tensor, other: Tensor, kind: DivergenceKind, temperature: number): [Tensor, Tensor] {
  const [classes, leading] = [x.extent(-1), x.shape.slice(0, -1)]
  const rows = x.size / Math.max(1, classes)
  const step = Math.max(1, Math.floor(chunk / Math.max(1, classes)))
  const [students, teachers] = [x.reshape([rows, classes]), other.reshape([rows, classes])]
  const parts: (readonly [Tensor, Tensor])[] = []
  for (let start = 0; start === 0 || start < rows; start += step)
    parts.push(
      scope(() =>
        rowsOf(
          students.slice(0, start, Math.min(rows, start + step)),
          teachers.slice(0, start, Math.min(rows, start + step)),
          kind,
          temperature,
        ),
      ),
    )
  const joined = (i: 0 | 1) => (parts.length === 1 ? parts[0]![i] : concat(parts.map((part) => part[i])))
  return [joined(0).reshape(leading), joined(1).reshape(x.shape)]
}

function rowsOf(
  student: Tensor,
  teacher: Tensor,
  kind: DivergenceKind,
  temperature: number,
): readonly [Tensor, Tensor] {
  const wide = student.dtype === 'f64' ? 'f64' : 'f32'
  const logarithms = (z: Tensor) => logSoftmax(z.cast(wide).mul(1 / temperature))
  const [logQ, logP] = [logarithms(student), logarithms(teacher)]
  const q = logQ.exp()
  const [weights, difference] = kind === 'forward' ? [logP.exp(), logP.sub(logQ)] : [q, logQ.sub(logP)]
  // What has no weight costs nothing, also where the other holds it impossible.
  const costs = weights.equal(0).where(0, weights.mul(difference))
  const losses = costs.sum(-1)
  const slopes = kind === 'forward' ? q.sub(weights) : costs.sub(q.mul(losses.unsqueeze(-1)))
  return [losses.mul(temperature ** 2), slopes.mul(temperature)]
}
