/** What is asked of a mix: a size, the levels that a matrix may have, and how it is found out what they cost. */
import { OptionError, printable } from '../../tensor/errors.ts'
import type { Limits } from '../limits.ts'
import type { ChosenTarget } from '../targets.ts'

/** A block type of GGUF files, or bits a code. */
export type LevelName = string | number

/** `measured`: the KL with one matrix replaced. `error`: the share of its output that a matrix loses. */
export const sensitivityNames = ['measured', 'error'] as const
export type SensitivityName = (typeof sensitivityNames)[number]

export interface MixOptions {
  /** Widths that a matrix may have. @default all bits that the target has; Q2_K to Q6_K and Q8_0 for GGUF files */
  levels?: readonly LevelName[]
  /** How the widths are compared. @default 'measured' */
  sensitivity?: SensitivityName
  /** Windows of 64 tokens that the KL is measured on, for `measured`. @default 4 */
  sensitivityWindows?: number
}

export interface ResolvedMix {
  levels: readonly LevelName[]
  sensitivity: SensitivityName
  windows: number
}

/** Tokens of a window that sensitivityNames are measured on, where samples are not shorter. */
export const windowTokens = 64

/**
 * Every default filled in; nothing where no size is asked for.
 *
 * @throws OptionError for two sizes, for levels that the target has not, and for what only a size gives a meaning to.
 */
export function resolveMix(
  options: MixOptions,
  chosen: ChosenTarget,
  { targetSize, targetBpw }: Limits,
): ResolvedMix | undefined {
  if (targetSize !== undefined && targetBpw !== undefined)
    throw new OptionError('--target-size: --target-bpw asks for a size too; leave one of them out', {
      code: 'PARE_E_LIMIT',
      facts: { limit: 'targetSize' },
    })
  if (targetSize === undefined && targetBpw === undefined) {
    checkUnused(options)
    return undefined
  }
  const flag = targetSize === undefined ? '--target-bpw' : '--target-size'
  const { name: target, facts } = chosen
  if (facts.widths === undefined)
    throw new OptionError(
      `${flag}: ${facts.title} has one bit width for all weights, so that none can be chosen for each; give --bits and --group-size, or choose --target pare or gguf`,
      { code: 'PARE_E_LIMIT', facts: { limit: flag, target } },
    )
  return {
    levels: levelsOf(options.levels, chosen),
    sensitivity: options.sensitivity ?? 'measured',
    windows: options.sensitivityWindows ?? 4,
  }
}

function checkUnused(options: MixOptions): void {
  const flags = {
    levels: '--levels',
    sensitivity: '--sensitivity',
    sensitivityWindows: '--sensitivity-windows',
  }
  for (const [name, flag] of Object.entries(flags) as [keyof typeof flags, string][])
    if (options[name] !== undefined)
      throw new OptionError(
        `${flag}: says how a size is met, and none is asked for; give --target-size or --target-bpw, or leave it out`,
        { code: 'PARE_E_LIMIT', facts: { limit: flag } },
      )
}

/** In the order of the target's own list, each once. */
function levelsOf(
  asked: readonly LevelName[] | undefined,
  { name: target, facts, layout }: ChosenTarget,
): LevelName[] {
  const { possible, usual } = facts.widths!
  const fits = (level: LevelName) => layout.levels?.bits.includes(level as number) ?? true
  if (asked === undefined) return usual.filter(fits)
  const known = possible.filter(fits)
  const found = asked.map((level) => {
    const name = typeof level === 'string' ? level.toUpperCase() : level
    if (known.includes(name)) return name
    throw new OptionError(
      `--levels: there is no ${printable(String(level))} for --target ${target}; possible are ${known.join(', ')}`,
      { code: 'PARE_E_LEVEL', facts: { level: String(level), possible: known.map(String) } },
    )
  })
  return known.filter((level) => found.includes(level))
}
