/** What a source stores, read once before anything is written: how each weight is put together, and what its levels are. */
import { isSuperType } from '../../formats/gguf/super_block_codes.ts'
import type { PareWeight } from '../../formats/pare_weight.ts'
import type { ModelWeights, WeightInfo } from '../../models/model_weights.ts'
import { factsOf, type LevelFacts, mergedFacts } from '../../models/regrid/level_facts.ts'
import { levelsOf } from '../../models/regrid/levels.ts'
import { describeStored } from '../../models/stored/pare_tensors.ts'
import { roleOf, type WeightRole } from '../../models/write/tensor_plan.ts'
import { isCodedType } from '../../nn/block_types.ts'
import { AbortError } from '../../tensor/errors.ts'
import { scope } from '../../tensor/index.ts'
import type { RunHooks } from '../evaluate.ts'
import { rowRanges } from './row_ranges.ts'

export interface SurveyedWeight {
  readonly info: WeightInfo
  readonly role: WeightRole
  /** How its codes are put together; nothing where it is numbers. */
  readonly described?: PareWeight
  /** Where they stand on evenly spaced levels. */
  readonly levels?: LevelFacts
}

export interface SurveyOptions {
  /** Levels are looked at. */
  levels: boolean
}

/** Every weight, in the order of the file. */
export async function survey(
  weights: ModelWeights,
  matrices: ReadonlySet<string>,
  { levels }: SurveyOptions,
  { progress, signal }: RunHooks,
): Promise<SurveyedWeight[]> {
  const found: SurveyedWeight[] = []
  const { size } = weights.infos
  for (const info of weights.infos.values()) {
    // Signals and messages come in between.
    await new Promise((done) => setImmediate(done))
    if (signal?.aborted) throw new AbortError()
    progress?.({ kind: 'progress', phase: 'read', share: found.length / size, text: info.name })
    found.push({ info, role: roleOf(info, matrices), ...surveyOne(weights, info, levels) })
  }
  return found
}

function surveyOne(
  weights: ModelWeights,
  { name, shape, type }: WeightInfo,
  wantsLevels: boolean,
): Pick<SurveyedWeight, 'described' | 'levels'> {
  if (shape.length !== 2 || !weights.stored) return {}
  const [rows, columns] = shape as [number, number]
  if (!isCodedType(type)) {
    return scope(() => {
      const values = weights.stored!(name)
      if (!values) return {}
      const found = wantsLevels ? levelsOf(values) : undefined
      return { described: describeStored(values), ...(found && { levels: factsOf(found) }) }
    })
  }
  // Blocks say what they are by their type.
  const described: PareWeight = { kind: 'blocks', type, shape: [rows, columns] }
  if (!wantsLevels) return { described }
  let levels: LevelFacts | undefined
  for (const { start, end } of rowRanges(rows, columns)) {
    const part = scope(() => {
      const found = levelsOf(weights.stored!(name, start, end)!)
      return found && factsOf(found, isSuperType(type))
    })
    if (!part) return { described }
    levels = levels ? mergedFacts(levels, part) : part
  }
  return { described, ...(levels && { levels }) }
}
