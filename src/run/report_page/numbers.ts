/** Numbers as people read them. What is no number, or not finite, is a dash. */

const dash = '–'

/** `limit` digits after the point, with a true minus sign. */
export const fixed = (value: number | undefined | null, digits: number): string =>
  isNumber(value) ? value.toFixed(digits).replace('-', '−') : dash

export const isNumber = (value: unknown): value is number =>
  typeof value === 'number' && Number.isFinite(value)

/** `88.2 MB`; units are powers of 1000. */
export function byteSize(bytes: number | undefined | null): string {
  if (!isNumber(bytes)) return dash
  const [unit, name] =
    bytes < 1e3 ? [1, 'bytes'] : bytes < 1e6 ? [1e3, 'kB'] : bytes < 1e9 ? [1e6, 'MB'] : [1e9, 'GB']
  return `${fixed(bytes / unit, unit === 1 ? 0 : unit === 1e9 ? 2 : 1)} ${name}`
}

/** `12.3 s`, `8 min 20 s`, `2 h 5 min` */
export function duration(seconds: number | undefined | null): string {
  if (!isNumber(seconds)) return dash
  if (seconds < 59.95) return `${fixed(seconds, 1)} s`
  const [whole, large, small, part] =
    seconds < 3570 ? [Math.round(seconds), 60, 's', 'min'] : [Math.round(seconds / 60), 60, 'min', 'h']
  return `${Math.floor(whole / large)} ${part} ${whole % large} ${small}`
}

export const percent = (share: number | undefined | null, digits = 1): string =>
  isNumber(share) ? `${fixed(100 * share, digits)}%` : dash

/** A relative error, a ratio of energies, in decibels; -Infinity for none. */
export const decibels = (ratio: number): number => 10 * Math.log10(ratio)
