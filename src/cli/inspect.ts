/** `pare inspect`: what a model file holds and what Pare can do with it. */
import { type Command, Option } from 'commander'
import type { RunHooks } from '../run/evaluate.ts'
import { fetchProgress } from '../run/evaluate.ts'
import { type Inspection, inspectSource } from '../run/inspect.ts'
import { chooseNames, summarizeValues, type TensorValues } from '../run/value_summary.ts'
import { OptionError, printable } from '../tensor/errors.ts'
import { addRunFlags, modelArgument } from './flags.ts'
import { inspectionText, supportText, tensorLine, valuesLine } from './inspection_text.ts'
import { interruptible } from './interrupt.ts'
import { showJson } from './show_json.ts'
import { terminalProgress } from './terminal.ts'

interface InspectFlags {
  json?: boolean
  offline?: boolean
  all?: boolean
  histogram?: boolean
  only?: string
}

const notes = `
Of a model of the hub only configuration, tokenizer and the headers of its weight files are fetched, unless all of it is in
the cache; pare pull fetches the rest.`

export function addInspect(pare: Command): void {
  const command = pare
    .command('inspect')
    .description(
      'List the metadata and tensors of a model, and say what Pare can do with it and why not. Reads headers only, without --histogram.',
    )
    .argument('<model>', modelArgument)
    .optionsGroup('Listing:')
    .option('--all', 'a line for every tensor, where layers that repeat are one line without it')
    .addOption(
      new Option(
        '--only <pattern>',
        'tensors that are listed, such as model.layers.0.**, lm_head or re:down_proj (default: all)',
      ),
    )
    .option(
      '--histogram',
      'read the values too: for every tensor 16 bins of up to three standard deviations around the mean, range, mean, deviation, share of zeros, NaN and infinities',
    )
    .addHelpText('after', notes)
  addRunFlags(command, 'everything as JSON').action((model: string, flags: InspectFlags) =>
    interruptible((signal) => inspectModel(model, flags, signal)),
  )
}

async function inspectModel(
  model: string,
  { json = false, offline, all = false, histogram = false, only }: InspectFlags,
  signal: AbortSignal,
): Promise<void> {
  const { show, stop } = terminalProgress({ quiet: json })
  const fetching = { signal, progress: fetchProgress(show), offline: offline || undefined }
  const result = await inspectSource(model, fetching).finally(stop)
  const names = chooseNames(
    result.tensors.map(({ name }) => name),
    only,
  )
  const chosen = new Set(names)
  if (histogram && result.headersOf !== undefined)
    throw new OptionError(
      `--histogram: the weights are needed, of ${printable(model)} only headers were fetched; run pare pull ${printable(model)} first`,
      { code: 'PARE_E_HEADERS_ONLY', facts: { source: model } },
    )
  const read = (each: (values: TensorValues) => void) =>
    histogram ? readValues(result, only, { signal, progress: show }, each).finally(stop) : undefined
  if (json) {
    const values = new Map<string, TensorValues>()
    await read((found) => values.set(found.name, found))
    const tensors = result.tensors
      .filter(({ name }) => chosen.has(name))
      .map((tensor) => ({ ...tensor, ...valueFields(values.get(tensor.name)) }))
    return showJson({ ...result, tensors })
  }
  const byName = new Map(result.tensors.map((tensor) => [tensor.name, tensor]))
  const print = (text: string) => void process.stdout.write(`${text}\n`)
  print(inspectionText(result, { all, chosen: histogram ? new Set() : chosen }))
  await read((values) => {
    stop()
    print(`${tensorLine({ ...byName.get(values.name)!, count: 1 })}\n${valuesLine(values)}`)
  })
  print(supportText(result))
}

async function readValues(
  { path }: Inspection,
  only: string | undefined,
  hooks: RunHooks,
  each: (values: TensorValues) => void,
): Promise<void> {
  for await (const values of summarizeValues(path, { only }, hooks)) each(values)
}

const valueFields = (values: TensorValues | undefined) =>
  values === undefined
    ? {}
    : 'summary' in values
      ? { values: values.summary }
      : { valuesMissing: values.missing }
