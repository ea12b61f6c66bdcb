/** What a source stores, read once before anything is written: how each weight is put together, and what its levels are. */
import { isSuperType } from '../../formats/gguf/super_block_codes.ts'
import type { PareWeight } from '../../formats/pare_weight.ts'
import type { ModelWeights, WeightInfo } from '../../models/model_weights.ts'
import { factsOf, type LevelFacts, mergedFacts } from '../../models/regrid/level_facts.ts'
import { levelsOf } from '../../models/regrid/levels.ts'
import { rowRanges } from '../../models/row_ranges.ts'
import { describeStored } from '../../models/stored/pare_tensors.ts'
import { roleOf, type WeightRole } from '../../models/write/tensor_plan.ts'
import { isCodedType } from '../../nn/block_types.ts'
import { AbortError } from '../../tensor/errors.ts'
import { scope } from '../../tensor/index.ts'
import type { RunHooks } from '../evaluate.ts'
import { blockBytes } from '../numbers_in_blocks.ts'

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
    const role = roleOf(info, matrices)
    found.push({ info, role, ...surveyOne(weights, info, role, levels) })
  }
  return found
}

type Found = Pick<SurveyedWeight, 'described' | 'levels'>

function surveyOne(
  weights: ModelWeights,
  { name, shape, type }: WeightInfo,
  role: WeightRole,
  wantsLevels: boolean,
): Found {
  if (shape.length !== 2 || !weights.stored) return {}
  const [rows, columns] = shape as [number, number]
  // Blocks say what they are by their type, offset grids by any of their rows.
  const isAlike =
    isCodedType(type) || (role !== 'matrix' && scope(() => weights.stored!(name, 0, 1)?.kind) === 'offset')
  const ranges = isAlike ? rowRanges(rows, 4 * columns, blockBytes) : [{ start: 0, end: rows }]
  let found: Found = {}
  for (const { start, end } of wantsLevels || !isAlike ? ranges : ranges.slice(0, 1)) {
    const part = scope((): Found => {
      const values = weights.stored!(name, start, end)
      if (!values) return {}
      const levels = wantsLevels ? levelsOf(values) : undefined
      return {
        described: describeStored(values),
        ...(levels && { levels: factsOf(levels, isSuperType(type)) }),
      }
    })
    const levels = found.levels && part.levels ? mergedFacts(found.levels, part.levels) : part.levels
    found = { ...part, ...(levels && { levels }) }
  }
  return found.described ? { ...found, described: { ...found.described, shape: [rows, columns] } } : {}
}
