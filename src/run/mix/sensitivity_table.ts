/** The sensitivities that a mix is chosen by: what the cache knows of them, and what is still to be measured. */
import { createHash } from 'node:crypto'
import { matricesOf } from '../../models/write/target.ts'
import { type Sensitivity, sensitivityKey } from '../../search/sensitivity.ts'
import { instructionSet } from '../../tensor/index.ts'
import type { ResolvedCompressOptions } from '../compress_options.ts'
import { stepsByName } from '../step_sequence.ts'
import type { RuledModel } from '../tensor_rules.ts'
import { version } from '../version.ts'
import type { MeasuredLevel } from './measurement.ts'
import { type ResolvedMix, windowTokens } from './mix_options.ts'
import type { MixChoice, MixSpace } from './mix_space.ts'
import { SensitivityCache } from './sensitivity_cache.ts'

export interface SensitivityTableOptions {
  source: RuledModel
  options: ResolvedCompressOptions
  mix: ResolvedMix
  space: MixSpace
  cacheFolder: string
  /** SHA-256 of the source's files, and of the calibration text. */
  sourceHash: string
  calibrationHash: string
}

export class SensitivityTable {
  private readonly cache: SensitivityCache
  private readonly space: MixSpace
  private readonly keys = new Map<string, string>()

  constructor({
    source,
    options,
    mix,
    space,
    cacheFolder,
    sourceHash,
    calibrationHash,
  }: SensitivityTableOptions) {
    this.space = space
    this.cache = new SensitivityCache(cacheFolder, sourceHash)
    const dataHash = createHash('sha256')
      .update(JSON.stringify(dataOf(options, mix, calibrationHash)))
      .digest('hex')
    const steps = stepsByName(options.steps, [...matricesOf(source)])
    for (const { name, choices } of space.items)
      for (const choice of choices)
        this.keys.set(
          place(name, choice.level),
          sensitivityKey({
            weight: name,
            level: levelText(choice, steps.get(name)!, options),
            sourceHash,
            dataHash,
          }),
        )
  }

  /** What is not known yet, by the name of the weight. */
  wanted(): Map<string, MixChoice[]> {
    const wanted = new Map<string, MixChoice[]>()
    for (const { name, choices } of this.space.items) {
      const missing = choices.filter(({ level }) => !this.find(name, level))
      if (missing.length > 0) wanted.set(name, missing)
    }
    return wanted
  }

  /** Where the cache lies; can be written. */
  place(): string {
    return this.cache.place()
  }

  add(levels: readonly MeasuredLevel[]): void {
    this.cache.add(
      levels.map((level) => ({ key: this.keys.get(place(level.weight, level.level))!, ...level })),
    )
  }

  /** All of them, or nothing while one is missing. */
  all(): Sensitivity[] | undefined {
    const rows: Sensitivity[] = []
    for (const { name, choices } of this.space.items)
      for (const { level, cost } of choices) {
        const row = this.find(name, level)
        if (!row) return undefined
        const { key: _, weight, ...error } = row
        rows.push({ ...error, weight, level, cost } as Sensitivity)
      }
    return rows
  }

  private find(weight: string, level: string) {
    return this.cache.find(this.keys.get(place(weight, level))!, weight, level)
  }
}

const place = (weight: string, level: string): string => JSON.stringify([weight, level])

/** Everything that the errors are measured with. */
const dataOf = (
  { samples, length, seed }: ResolvedCompressOptions,
  { sensitivity, windows }: ResolvedMix,
  calibrationHash: string,
) => ({
  version,
  instructionSet: instructionSet(),
  sensitivity,
  calibrationHash,
  samples,
  length,
  seed,
  ...(sensitivity === 'measured' ? { windows, windowTokens } : {}),
})

/** The values that a weight is rounded to, and by which steps. */
function levelText({ plan }: MixChoice, own: readonly number[], { steps }: ResolvedCompressOptions): string {
  return JSON.stringify([
    plan.grid ?? plan.type,
    ...own.map((index, i) => {
      const { method, actOrder, staticGroups, damping, onSingular, scheme, grid } = steps[index]!
      // The last step rounds to the level; those before it to their own values.
      const values = i + 1 < own.length ? [scheme ?? grid] : []
      return [method, actOrder, staticGroups, damping, onSingular, ...values]
    }),
  ])
}
