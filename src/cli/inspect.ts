/** `pare inspect`: what a model file holds and what Pare can do with it. Reads headers only. */
import type { Command } from 'commander'
import { resolveSource } from '../models/source/source.ts'
import { fetchProgress } from '../run/evaluate.ts'
import { type Inspection, inspect } from '../run/inspect.ts'
import { printable } from '../tensor/errors.ts'
import { addRunFlags, modelArgument } from './flags.ts'
import { interruptible } from './interrupt.ts'
import { showJson } from './show_json.ts'
import { megabytes, terminalProgress } from './terminal.ts'

export function addInspect(pare: Command): void {
  const command = pare
    .command('inspect')
    .description(
      'List the metadata and tensors of a model, and say whether Pare can compress it. Reads headers only.',
    )
    .argument('<model>', modelArgument)
  addRunFlags(command, 'everything as JSON').action(async (model: string, { json, offline }) => {
    const { show, stop } = terminalProgress({ quiet: json })
    const resolved = await interruptible((signal) =>
      resolveSource(model, { signal, progress: fetchProgress(show), offline: offline || undefined }),
    ).finally(stop)
    const result = inspect(resolved.path)
    if (json) showJson(result)
    else process.stdout.write(`${inspectionText(result)}\n`)
  })
}

function inspectionText({
  path,
  format,
  fileBytes,
  tensors,
  parameters,
  metadata,
  supported,
  reason,
}: Inspection): string {
  return [
    `file     ${printable(path, 4096)}`,
    `format   ${format}, ${megabytes(fileBytes)}, ${tensors.length} tensors, ${(parameters / 1e6).toFixed(1)} M weights`,
    ...metadata.map(({ key, value }) => `  ${printable(key).padEnd(44)} ${printable(value, 80)}`),
    ...tensors.map(
      ({ name, type, shape, bits }) =>
        `  ${printable(name).padEnd(52)} ${printable(type).padEnd(8)} [${shape.join(', ')}]  ${bits.toFixed(2)} bits`,
    ),
    reason === undefined
      ? `Pare can compress it as ${printable(supported!)}.`
      : `Pare ${supported ? `computes it as ${printable(supported)}, but ` : ''}cannot compress it: ${printable(reason, 400)}`,
  ].join('\n')
}
