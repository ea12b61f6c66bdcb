/** What the table of methods says of each of them. */
import type { LayerMethod, StatisticName } from '../calibrate/method.ts'
import type { StageTuner } from '../calibrate/stage_tuner.ts'
import type { PareWeight } from '../formats/pare_weight.ts'
import type { OwnFieldName, OwnOptions } from './own_fields.ts'

/** Options that more than one kind of method reads. */
export type SharedField = 'bits' | 'groupSize' | 'actOrder' | 'staticGroups' | 'damping' | 'onSingular'

/** What is said to a method's factory. */
export type FactoryOptions = OwnOptions & {
  readonly bits?: number
  readonly groupSize?: number | 'row'
  readonly damping?: number
  readonly actOrder?: boolean
  readonly staticGroups?: boolean
  readonly onSingular?: 'throw' | 'round'
  readonly seed?: number
}

interface Method {
  /** One line for help and docs. */
  readonly summary: string
  readonly needs: readonly StatisticName[]
  /** Options that it reads, by name, with the default as text. */
  readonly options: Readonly<Partial<Record<OwnFieldName | SharedField, string>>>
  make(options: FactoryOptions): LayerMethod
  readonly training?: Training
}

/** Trains every stage once its weights are decided. A method that has it needs a statistic, so that there is text. */
export interface Training {
  /** Options that it reads; the first counts the passes, of which 0 leaves it out. */
  readonly options: readonly [OwnFieldName, ...OwnFieldName[]]
  /** Norms and biases are trained too. */
  readonly floats: boolean
  /** Nothing for 0 passes. */
  tuner(options: FactoryOptions): StageTuner | undefined
}

/** Rounds to the grid that the step has: any target can hold it. */
export interface Quantizer extends Method {
  readonly kind: 'quantizer'
}

/** Sets weights to 0. */
export interface Pruner extends Method {
  readonly kind: 'pruner'
  /** Rounds what is left to the grid of the step in the same sweep, where it has one. */
  readonly joint: boolean
  /** Weights that are left of a matrix. */
  kept(shape: readonly [number, number], options: OwnOptions): number
}

/** Stores a weight in a form of its own. */
export interface Coder extends Method {
  readonly kind: 'coder'
  /** The form; where data decides its size, about so large. */
  form(shape: readonly [number, number], options: FactoryOptions): PareWeight
}

/** Adds to what earlier steps stored. */
export interface Repair extends Method {
  readonly kind: 'repair'
  form(shape: readonly [number, number], options: FactoryOptions, before: PareWeight): PareWeight
}

export type StepMethod = Quantizer | Pruner | Coder | Repair
