/** Sizes as people write them: `600MB`, `1.5GiB`, or a number of bytes. */

const units: Readonly<Record<string, bigint>> = {
  B: 1n,
  kB: 10n ** 3n,
  KB: 10n ** 3n,
  MB: 10n ** 6n,
  GB: 10n ** 9n,
  TB: 10n ** 12n,
  KiB: 2n ** 10n,
  MiB: 2n ** 20n,
  GiB: 2n ** 30n,
  TiB: 2n ** 40n,
}

/** What a size may look like, for messages. */
export const sizeForm = 'a number of bytes or a size such as 600MB (10^6) or 512MiB (2^20)'

/**
 * Bytes of a size, to the nearest byte; undefined for what is no size, is 0, or does not fit a safe integer.
 *
 * @example parseSize('1.5kB') // 1500
 */
export function parseSize(text: string): number | undefined {
  const [, whole, fraction = '', unit = 'B'] =
    /^(\d{1,16})(?:\.(\d{1,16}))? ?([kKMGT]?i?B)?$/.exec(text) ?? []
  if (whole === undefined || !Object.hasOwn(units, unit)) return undefined
  const divisor = 10n ** BigInt(fraction.length)
  // Twice the size and one divisor, over two: the half that rounds to nearest without a fraction.
  const bytes = (2n * BigInt(whole + fraction) * units[unit]! + divisor) / (2n * divisor)
  return bytes >= 1n && bytes <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(bytes) : undefined
}

/** The shortest of the sizes that mean exactly these bytes. @example sizeText(1536) // '1536B' */
export function sizeText(bytes: number): string {
  let shortest = `${bytes}B`
  for (const [unit, size] of Object.entries(units)) {
    const text = `${BigInt(bytes) / size}${unit}`
    if (BigInt(bytes) % size === 0n && text.length < shortest.length) shortest = text
  }
  return shortest
}
