/** `pare reproduce`: the experiments behind the pages, which are compiled beside the command line. */
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { type Command, InvalidArgumentError } from 'commander'
import { OptionError, StateError } from '../tensor/errors.ts'
import { showJson } from './show_json.ts'

const examples = `
Examples:
  pare reproduce --list                    the experiments, and the assets that they read
  pare reproduce jaxpruner --quick         one seed on little data, at most 30 seconds; exit code 1 where an order is lost
  pare reproduce gmp --output results      all of it; the same command goes on where it was stopped

Without --output a full run writes docs/results of the repository: NAME.runs.jsonl with a line for each run, then
NAME.json, NAME.md and its figures. A run is known by its settings, its seed and the sources of its method.`

/** What `experiments/reproduce.ts` offers. */
interface Experiments {
  list(): { name: string; title: string; assets: readonly string[] }[]
  reproduce(name: string, options: object): Promise<Outcome>
}

interface Outcome {
  quick: boolean
  output?: string
  claims: { text: string; holds?: boolean; found: string }[]
  failures: string[]
}

export function addReproduce(pare: Command): void {
  pare
    .command('reproduce')
    .description('Run an experiment of the pages again.')
    .argument('[name]', 'the experiment; --list names them')
    .addHelpText('after', examples)
    .option('--list', 'the experiments that there are')
    .option('--quick', 'a small version, in a temporary folder')
    .option('--seeds <list>', 'whole numbers with commas between (default: 0,1,2; 0 with --quick)', seedsOf)
    .option('--only <jobs>', 'some of the jobs, in the words of the experiment; may be repeated', gather)
    .option('--output <dir>', 'folder of the results')
    .option('--assets <dir>', 'folder that interop/assets.sh filled (default: PARE_ASSETS)')
    .option('--write', 'make the page from the runs there are, and measures nothing')
    .option('--commit <id>', 'names the commit of a tree without git')
    .option('--json', 'the claims, or the list, as JSON')
    .action(async (name: string | undefined, { list, json, ...options }) => {
      const experiments = await load()
      if (list) {
        const all = experiments.list()
        if (json) showJson(all)
        else
          for (const { name, title, assets } of all)
            process.stdout.write(`${name.padEnd(12)} ${title}\n${''.padEnd(12)} reads ${assets.join(', ')}\n`)
        return
      }
      if (name === undefined)
        throw new OptionError('reproduce: name an experiment; `pare reproduce --list` shows them', {
          code: 'PARE_E_USAGE',
        })
      const outcome = await experiments.reproduce(name, options)
      if (json) showJson(outcome)
      else process.stdout.write(outcomeText(outcome))
      if (outcome.failures.length > 0) process.exitCode = 1
    })
}

const outcomeText = ({ quick, output, claims, failures }: Outcome): string =>
  [
    ...(quick ? ['quick  a small version: what it finds decides no claim of a page\n'] : []),
    ...claims.map(
      ({ text, holds, found }) =>
        `${holds === undefined ? 'open ' : holds ? 'holds' : 'FAILS'}  ${text} ${found}\n`,
    ),
    ...failures.map((failure) => `FAILED  ${failure}\n`),
    ...(output === undefined ? [] : [`output ${output}\n`]),
  ].join('')

async function load(): Promise<Experiments> {
  const module = new URL('../experiments/reproduce.js', import.meta.url)
  if (existsSync(fileURLToPath(module))) return import(module.href)
  throw new StateError(
    'reproduce: the experiments are not compiled; run `npm run build` in the folder of Pare',
    {
      code: 'PARE_E_NOT_BUILT',
    },
  )
}

const gather = (value: string, before: readonly string[] = []): string[] => [...before, value]

function seedsOf(text: string): number[] {
  const seeds = text.split(',').map((part) => (/^\s*\d{1,9}\s*$/.test(part) ? Number(part) : Number.NaN))
  if (seeds.some(Number.isNaN) || new Set(seeds).size < seeds.length)
    throw new InvalidArgumentError('different whole numbers from 0 on are needed, such as 0,1,2.')
  return seeds
}
