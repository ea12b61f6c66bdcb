/** Files by patterns: `*` and `?` within a name, `**` for any folders. */
import { join } from 'node:path'
import { OptionError, printable } from '../tensor/errors.ts'
import { visibleEntries } from './folder.ts'

const hasPattern = (part: string): boolean => /[*?]/.test(part)

/**
 * The files that each entry names, in the order of the entries, those of a pattern by name. An entry without `*` and
 * `?` is taken as it stands.
 *
 * @throws OptionError for a pattern that matches no file, SourceError for a folder that cannot be read
 * @example filesOf(['texts/*.txt', 'more.jsonl'])
 */
export function filesOf(patterns: readonly string[]): string[] {
  return patterns.flatMap((pattern) => {
    if (!hasPattern(pattern)) return [pattern]
    const found = matching(pattern)
    if (found.length > 0) return found
    throw new OptionError(`${printable(pattern)}: the pattern matches no file; correct the path`, {
      code: 'PARE_E_NO_MATCH',
      facts: { pattern },
    })
  })
}

function matching(pattern: string): string[] {
  const parts = pattern.split('/')
  const fixed = parts.findIndex(hasPattern)
  const start = parts.slice(0, fixed).join('/') || (pattern.startsWith('/') ? '/' : '.')
  const found = new Set<string>()
  /** Looks for the parts from `at` on below a folder. */
  const visit = (folder: string, at: number): void => {
    const part = parts[at]!
    const entries = visibleEntries(folder)
    if (part === '**') {
      if (at + 1 < parts.length) visit(folder, at + 1)
      for (const entry of entries) if (entry.isDirectory()) visit(join(folder, entry.name), at)
      if (at + 1 < parts.length) return
    }
    const takes = part === '**' ? () => true : expressionOf(part)
    for (const entry of entries) {
      if (!takes(entry.name)) continue
      const path = join(folder, entry.name)
      if (at + 1 < parts.length) {
        if (entry.isDirectory()) visit(path, at + 1)
      } else if (entry.isFile() || entry.isSymbolicLink()) found.add(path)
    }
  }
  visit(start, fixed)
  return [...found].sort((a, b) => (a < b ? -1 : 1))
}

/** Names that begin with a point are left out. */
function expressionOf(part: string): (name: string) => boolean {
  const source = part
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replace(/\*+/g, '.*')
    .replaceAll('?', '.')
  const expression = new RegExp(`^${source}$`, 's')
  return (name) => !name.startsWith('.') && expression.test(name)
}
