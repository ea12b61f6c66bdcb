/**
 * Knowledge distillation: a student learns from what a teacher makes of the same batch (Hinton et al. 2015,
 * arXiv:1503.02531; hidden states: Kurtic et al. 2023, arXiv:2310.06927). The loss of a sample is
 *
 *   taskWeight * task + weight * mean over rows of divergence(teacher, student) + sum over pairs of weight * distance
 *
 * The distances of hidden states stand in `nn/hidden_losses.ts`, the divergence in `nn/divergence.ts`. The teacher is
 * run off the tape. Rows whose label is ignored count nothing in the first two, padding nothing in the third.
 */
import { checkDivergence, type DivergenceKind, divergence } from '../nn/divergence.ts'
import { checkHiddenLoss, type HiddenLossKind, hiddenLosses } from '../nn/hidden_losses.ts'
import { nearestNames } from '../nn/nearest_names.ts'
import { meanOfRows } from '../nn/sample_means.ts'
import { readSites, type SiteReader } from '../nn/sites.ts'
import type { ForwardPass, TrainingBatch } from '../optim/training_task.ts'
import { OptionError, printable } from '../tensor/errors.ts'
import { randomStream, scope, type Tensor, unrecorded } from '../tensor/index.ts'
import type { LogitsTask } from './labelled_task.ts'

/** What a student learns from: another task, or any model. */
export interface Teacher<B extends TrainingBatch> {
  /** Logits [samples, .., classes] in evaluation. */
  logits(batch: B, pass: ForwardPass): Tensor
}

export interface HiddenPair {
  /** Sites, such as `block.3/output`, whose tensors are [samples, .., width]. */
  student: string
  teacher: string
  /** @default 'normalised' */
  loss?: HiddenLossKind | undefined
  /** At least 0. @default 1 */
  weight?: number | undefined
  /** Of the normalised loss: beside the mean square of the teacher. @default 2^-7 */
  epsilon?: number | undefined
  /** Widths of both, where they differ: the student's goes through a linear map that is trained with it. @default none */
  map?: { from: number; to: number } | undefined
}

export interface DistillationOptions<B extends TrainingBatch> {
  teacher: Teacher<B>
  /** What both logits are divided by; above 0. @default 1 */
  temperature?: number | undefined
  /** Of the divergence of logits; at least 0. @default 0.5 */
  weight?: number | undefined
  /** Of the task's own loss; at least 0. @default what `weight` leaves of 1, and no less than 0 */
  taskWeight?: number | undefined
  /** Which of the two stands first in the divergence: the teacher, or the student. @default 'forward' */
  kind?: DivergenceKind | undefined
  /** Only the teacher's likeliest classes, normalised anew for both; whole, from 1 on. @default all */
  topK?: number | undefined
  /** @default none */
  hidden?: readonly HiddenPair[] | undefined
  /** Of the first weights of maps. @default 0 */
  seed?: number | undefined
}

/** Parameters that belong to distillation and not to the student begin so. */
export const distillationPrefix = 'distillation.'

const mapName = (pair: number) => `${distillationPrefix}${pair}.weight`

/**
 * The same task with the loss of a teacher. Maps are added to `task.parameters` as `distillation.0.weight`, [to, from],
 * before an optimiser is made: leave them out of pruning and of the saved model.
 *
 * @throws OptionError for numbers out of range, and from the first step for a site that a model does not have.
 * @example
 * const task = distilled(languageTask(student, parameters), {
 *   teacher: { logits: ({ inputs }, pass) => teacher.logits(inputs, pass) },
 *   temperature: 2,
 *   hidden: [{ student: 'block.1/output', teacher: 'block.3/output' }],
 * })
 */
export function distilled<B extends TrainingBatch>(
  task: LogitsTask<B>,
  options: DistillationOptions<B>,
): LogitsTask<B> {
  const { teacher, temperature, weight = 0.5, taskWeight = Math.max(0, 1 - weight), kind, topK } = options
  const { hidden = [], seed = 0 } = options
  checkOptions({ weight, taskWeight }, options)
  const maps = hidden.map((pair, i) => addMap(task, mapName(i), pair, seed))
  const [studentSites, teacherSites] = (['student', 'teacher'] as const).map((side) =>
    hidden.map((pair) => pair[side]),
  ) as [string[], string[]]

  return {
    ...task,
    losses: (batch, training) =>
      reading(studentSites, teacherSites, (ownHidden, otherHidden) => {
        const target = unrecorded(() => teacher.logits(batch, passOf(otherHidden)))
        const logits = task.logits(batch, { ...passOf(ownHidden), training })
        const parts: Tensor[] = []
        if (weight > 0) {
          const counted = task.counted?.(batch)
          const rows = divergence(logits, target.cast(logits.dtype), { temperature, kind, topK, counted })
          parts.push(meanOfRows(rows, counted).mul(weight))
        }
        const attended = task.attended?.(batch)
        for (const [i, pair] of hidden.entries()) {
          const own = tensorOf(ownHidden!, 'student', i, pair.student)
          const other = tensorOf(otherHidden!, 'teacher', i, pair.teacher)
          const mapped = maps[i] ? own.linear(maps[i]) : own
          checkWidths(i, pair, mapped, other)
          const { loss, epsilon, weight = 1 } = pair
          const losses = hiddenLosses(
            mapped,
            unrecorded(() => other.cast(mapped.dtype)),
            {
              kind: loss,
              epsilon,
              attended,
            },
          )
          parts.push(losses.mul(weight))
        }
        if (taskWeight > 0) {
          const own = task.lossesOf(logits, batch)
          parts.push(own.cast(own.dtype === 'f64' ? 'f64' : 'f32').mul(taskWeight))
        }
        return parts.reduce((sum, part) => sum.add(part)).cast(logits.dtype)
      }),
  }
}

const passOf = (reader: SiteReader | undefined): ForwardPass => (reader ? { at: reader.at } : {})

/** Runs `body` with readers of the sites, whose tensors it frees. */
function reading(
  student: readonly string[],
  teacher: readonly string[],
  body: (student: SiteReader | undefined, teacher: SiteReader | undefined) => Tensor,
): Tensor {
  // Without hooks models take their fused paths.
  if (student.length === 0) return scope(() => body(undefined, undefined))
  const readers = [readSites(student), readSites(teacher)] as const
  try {
    return scope(() => body(...readers))
  } finally {
    for (const reader of readers) reader.dispose()
  }
}

function addMap<B extends TrainingBatch>(
  { parameters }: LogitsTask<B>,
  name: string,
  { map }: HiddenPair,
  seed: number,
): Tensor | undefined {
  if (!map) return undefined
  const [first] = parameters.tensors().values()
  return scope(() => {
    const drawn = randomStream(seed, name).normal([map.to, map.from], 'f64')
    return parameters.add(name, drawn.mul(1 / Math.sqrt(map.from)).cast(first?.dtype ?? 'f32'))
  })
}

function tensorOf(reader: SiteReader, side: string, pair: number, site: string): Tensor {
  const found = reader.tensors.get(site)
  if (found) return found
  const nearest = nearestNames(site, [...reader.passed]).map((name) => printable(name))
  throw new OptionError(
    `hidden[${pair}].${side}: the model comes by no site ${printable(site)}${nearest.length > 0 ? `; nearest are ${nearest.join(', ')}` : ''}`,
    { code: 'PARE_E_NO_MATCH', facts: { site, nearest } },
  )
}

function checkWidths(pair: number, { student, teacher, map }: HiddenPair, own: Tensor, other: Tensor): void {
  const [from, to] = [own.extent(-1), other.extent(-1)]
  if (from === to) return
  throw new OptionError(
    `hidden[${pair}]: ${printable(student)} has ${from} channels${map ? ' behind its map' : ''} and ${printable(teacher)} ${to}; give map: { from: ${map ? map.from : from}, to: ${to} }`,
    { facts: { from, to } },
  )
}

function checkOptions<B extends TrainingBatch>(
  weights: { weight: number; taskWeight: number },
  options: DistillationOptions<B>,
): void {
  const { hidden = [] } = options
  checkDivergence(options)
  const all = [
    ...Object.entries(weights),
    ...hidden.map(({ weight = 1 }, i) => [`hidden[${i}].weight`, weight]),
  ]
  for (const [name, value] of all as [string, number][])
    if (!(value >= 0 && Number.isFinite(value)))
      throw new OptionError(`${name}: needs a number from 0 on, got ${value}`)
  if (all.every(([, value]) => value === 0))
    throw new OptionError('distillation: all weights are 0; there is nothing to learn')
  for (const [i, { loss, epsilon, map }] of hidden.entries()) {
    checkHiddenLoss({ kind: loss, epsilon })
    for (const [name, width] of Object.entries(map ?? {}))
      if (!(Number.isSafeInteger(width) && width >= 1))
        throw new OptionError(`hidden[${i}].map.${name}: needs a whole number from 1 on, got ${width}`)
  }
}
