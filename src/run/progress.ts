/** What a run tells while it works. */
import type { CompressionPlan } from './plan.ts'
import type { TrainingProgress } from './training_run.ts'

export type Phase =
  | 'fetch'
  | 'probe'
  | 'verify'
  | 'calibrate'
  | 'measure'
  | 'transform'
  | 'compress'
  | 'write'
  | 'evaluate'
  | 'sample'
  | 'speed'
  | 'baseline'
  | 'read'

export type ProgressEvent =
  | { kind: 'plan'; plan: CompressionPlan }
  /** Share of a phase that is done, 0 to 1, with one line for people. */
  | { kind: 'progress'; phase: Phase; share: number; text: string }
  /** After every step of a training. */
  | ({ kind: 'training' } & TrainingProgress)
  /** Something worth reading that is no error. */
  | { kind: 'note'; text: string }

export type OnProgress = (event: ProgressEvent) => void
