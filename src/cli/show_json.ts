/** Results as JSON on stdout. */

/**
 * Indented JSON whose strings hold no character that steers a terminal: JSON itself escapes those below U+0020,
 * this also the others that `printable` replaces.
 */
export function jsonText(value: unknown): string {
  return JSON.stringify(value, null, 2).replace(
    /[\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

export const showJson = (value: unknown): void => {
  process.stdout.write(`${jsonText(value)}\n`)
}
