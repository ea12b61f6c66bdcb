/** Text from files, for people to read: nothing in it is hidden, and nothing is endless. */

/** The joiners that scripts and emoji need; all other characters without a shape are shown by their number. */
const kept = new Set(['\n', '\t', '\u200c', '\u200d'])

/** Control, format and lone surrogate characters as `\u{..}`; line ends, tabs and joiners stay. */
export const visible = (text: string): string =>
  text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (c) =>
    kept.has(c) ? c : `\\u{${c.codePointAt(0)!.toString(16)}}`,
  )

/** The same on one line: line ends and tabs are shown by their number too. */
export const visibleLine = (text: string): string =>
  visible(text).replace(/[\n\t]/g, (c) => (c === '\n' ? '\\u{a}' : '\\u{9}'))

/** At most `limit` characters, none of them halved; a cut is marked by an ellipsis. */
export function shortened(text: string, limit = 160): string {
  if (text.length <= limit) return text
  return `${text.slice(0, limit).replace(/[\ud800-\udbff]$/, '')}…`
}
