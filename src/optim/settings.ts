/** Settings of optimisers, and groups of parameters that have others. */
import { patternMatches } from '../nn/name_pattern.ts'
import type { Match } from '../nn/parameters.ts'
import { OptionError, printable } from '../tensor/errors.ts'
import type { Schedule } from './schedules.ts'

/** Settings that every optimiser has. */
export interface CommonSettings {
  /** Learning rate: a number, or a schedule over the steps of the optimiser. At least 0. */
  rate: number | Schedule
}

/** Other settings for the parameters that a pattern takes. Of groups that take the same one, later fields win. */
export type Group<Settings> = { match: Match } & Partial<Settings>

export type OptimiserOptions<Settings extends CommonSettings> = Partial<Settings> & {
  /** Every pattern must take a parameter. @default none */
  groups?: readonly Group<Settings>[]
}

/** What an optimiser knows of its settings. */
export interface SettingRules<Settings extends CommonSettings> {
  readonly defaults: Settings
  /** @throws OptionError, which begins with `at`, where a setting is out of its range */
  readonly check: (settings: Settings, at: string) => void
}

/** Settings of one path: the general ones, with those of every group that takes it. */
export const settingsFor = <Settings extends CommonSettings>(
  path: string,
  general: Settings,
  groups: readonly Group<Settings>[],
): Settings =>
  groups
    .filter(({ match }) => takes(match, path))
    .reduce((all, group) => joined(all, settingsIn(group)), general)

/** What a group says beside whom it is for. */
export const settingsIn = <Settings>({ match: _, ...settings }: Group<Settings>): Partial<Settings> =>
  settings as unknown as Partial<Settings>

const takes = (match: Match, path: string): boolean =>
  (typeof match === 'string' ? [match] : match).some((pattern) => patternMatches('match', pattern, [path])[0])

/** Settings with the given ones in the place of others; what is undefined is not given. */
export function joined<Settings>(settings: Settings, given: Partial<Settings>): Settings {
  const own = Object.entries(given).filter(([, value]) => value !== undefined)
  return { ...settings, ...(Object.fromEntries(own) as Partial<Settings>) }
}

/** @throws OptionError, which begins with `at`, for a name that is no setting and for a value out of its range */
export function checkSettings<Settings extends CommonSettings>(
  rule: SettingRules<Settings>,
  settings: Settings,
  at: string,
): void {
  const names = Object.keys(rule.defaults)
  for (const field of Object.keys(settings))
    if (!names.includes(field))
      throw new OptionError(`${at}: ${printable(field)} is no setting; there are ${names.join(', ')}`)
  const { rate } = settings
  if (typeof rate !== 'function') needSetting(at, 'rate', rate, rate >= 0, 'at least 0')
  rule.check(settings, at)
}

/** @throws OptionError unless the value is a finite number that fits */
export function needSetting(at: string, name: string, value: unknown, fits: boolean, range: string): void {
  if (typeof value === 'number' && Number.isFinite(value) && fits) return
  throw new OptionError(`${at}: ${name} must be ${range}, got ${printable(String(value))}`)
}
