/** The field `distill` of a training recipe: what the model learns from a teacher. */
import type { DivergenceKind } from '../../nn/divergence.ts'
import { type HiddenLossKind, hiddenLossKinds } from '../../nn/hidden_losses.ts'
import { above0, atLeast0, list, oneOf, optional, record, text, whole } from '../option_fields.ts'

export interface DistillationRecipe {
  /** Folder or file of a trained model, whose logits have the same classes or tokens. */
  teacher: string
  /** What both logits are divided by; above 0. @default 1 */
  temperature?: number
  /** Of the divergence of logits; from 0 on. @default 0.5 */
  weight?: number
  /** Of the task's own loss; from 0 on. @default what `weight` leaves of 1 */
  taskWeight?: number
  /** Which of the two stands first in the divergence: the teacher, or the student. @default 'forward' */
  kind?: DivergenceKind
  /** Only the teacher's likeliest classes; from 1 on. @default all */
  topK?: number
  /** Sites, such as `block.3/output`, whose tensors are to be alike. @default none */
  hidden?: readonly {
    student: string
    teacher: string
    /** @default 'normalised' */
    loss?: HiddenLossKind
    /** From 0 on. @default 1 */
    weight?: number
    /** Widths of both, where they differ: a linear map is trained with the student. @default none */
    map?: { from: number; to: number }
  }[]
}

const site = text('a site such as block.3/output', 256)

export const distillationSchema = record({
  teacher: text('the folder or file of a model'),
  ...optional({
    temperature: above0(),
    weight: atLeast0,
    taskWeight: atLeast0,
    kind: oneOf(['forward', 'reverse']),
    topK: whole(1),
    hidden: list(
      record({
        student: site,
        teacher: site,
        ...optional({
          loss: oneOf(hiddenLossKinds),
          weight: atLeast0,
          map: record({ from: whole(1), to: whole(1) }),
        }),
      }),
      'a list of pairs of sites',
    ),
  }),
})
