/** Which files decide what an experiment on pruning finds: its settings, its trainings, and the methods. */
import { existsSync, readFileSync } from 'node:fs'
import { join, posix } from 'node:path'
import { root } from './repository.ts'

/** Engine, optimisers and data have tests that hold their results; a change there makes nothing stale. */
const decisive = ['experiments/', 'src/prune/', 'src/optim/sparsity_schedule.ts']

/** Whether a change of a file makes results stale. */
export const isDecisive = (file: string): boolean => decisive.some((start) => file.startsWith(start))

/**
 * A file and all decisive ones that it imports, directly or not, in alphabetical order; the file alone in an installation,
 * which has no sources. What is imported for its types decides nothing.
 *
 * @param entry path below the root of the repository
 * @example methodSources('experiments/gmp_training.ts')
 */
export function methodSources(entry: string): string[] {
  if (!existsSync(join(root, entry))) return [entry]
  const found = new Set([entry])
  // A set that grows while it is walked gives what was added too.
  for (const file of found)
    for (const imported of importsOf(file, readFileSync(join(root, file), 'utf8')))
      if (isDecisive(imported)) found.add(imported)
  return [...found].sort()
}

/** Files below the root that a source imports for their values. */
export function importsOf(file: string, text: string): string[] {
  const statements = text.matchAll(/^(?:import|export)(?! type\b)[^'"]*?from '([^']+\.ts)'/gm)
  return [...statements].flatMap(([, specifier]) => {
    if (specifier!.startsWith('.')) return [posix.join(posix.dirname(file), specifier!)]
    return specifier!.startsWith('#src/') ? [specifier!.slice(1)] : []
  })
}
