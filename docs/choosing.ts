/** What docs/choosing.md says in numbers, from the records of the benchmark and of pruning in one pass. */
import { commandOf, machineLines, type Result } from '../experiments/experiment.ts'
import type { OneShotRun } from '../experiments/one_shot_measure.ts'
import { methodsOf, summarize } from '../experiments/one_shot_page.ts'
import { ranksAt } from '../experiments/ptq_ranks.ts'
import { groupBy, table } from '../experiments/table.ts'

type Record = Result<OneShotRun>
const widths = [4, 3, 2]
const modelsOf = ({ runs }: Record) => [...new Set(runs.map(({ model }) => model))]

const notMeasured = (name: string) => `Not measured yet: \`${commandOf(name)}\` writes the numbers.`

/** The first two ranks of each width on each model, beside round to nearest. */
export function bitsPart(record: Record | undefined): string {
  if (!record) return notMeasured('ptq_benchmark')
  const rows = modelsOf(record).flatMap((model) =>
    widths.flatMap((bits) => {
      const ranks = ranksAt(record.runs, model, bits)
      const [first, second] = ranks
      const nearest = ranks.find(({ method }) => method === 'rtn')
      if (!first || !second || !nearest) return []
      const name = ({ method, kl }: typeof first) => `${method} ${kl.toPrecision(3)}`
      return [
        [
          model,
          String(bits),
          nearest.storedBits.toFixed(2),
          name(first),
          name(second),
          nearest.kl.toPrecision(3),
          (nearest.kl / first.kl).toFixed(1),
        ],
      ]
    }),
  )
  const head = ['model', 'bits', 'stored bits', 'least KL', 'then', 'KL of rtn', 'rtn over the least']
  return [table(head, rows), '', `Command: \`${commandOf('ptq_benchmark')}\`\\`, machineLines(record)].join(
    '\n',
  )
}

/** Seconds of each method at 3 bits, and what they bought, on the one machine that ran the most of them. */
export function timePart(record: Record | undefined, model: string): string {
  if (!record) return notMeasured('ptq_benchmark')
  const ranks = new Map(ranksAt(record.runs, model, 3).map((rank) => [rank.method, rank]))
  const runs = record.runs.filter(
    (run) => run.model === model && ranks.has(methodsOf(run.steps)) && isThree(run),
  )
  if (runs.length === 0) return notMeasured('ptq_benchmark')
  const machine = machineOfMost(runs)
  const rows = summarize(runs.filter((run) => run.machine === machine))
    .map((row) => ({ ...row, seconds: row.runs.map(({ seconds }) => seconds) }))
    .toSorted((a, b) => Math.min(...a.seconds) - Math.min(...b.seconds))
  const head = ['method', `seconds on ${model}, evaluation included, one a seed`, 'stored bits', 'KL']
  const cells = rows.map(({ runs, seconds, storedBits, kl }) => [
    methodsOf(runs[0]!.steps),
    seconds.map((value) => value.toFixed(0)).join(', '),
    storedBits.toFixed(2),
    kl.mean.toPrecision(3),
  ])
  return [
    table(head, cells),
    '',
    `Command: \`${commandOf('ptq_benchmark')}\`\\`,
    machineLines({ machines: [machine] }),
  ].join('\n')
}

const isThree = ({ steps }: OneShotRun): boolean => {
  const { bits, books } = steps.at(-1)!
  return (books ?? Math.round(bits ?? 0)) === 3
}

/** Times of different machines are not held side by side. */
function machineOfMost(runs: readonly OneShotRun[]): string {
  const by = groupBy(runs, ({ machine }) => machine)
  const most = by.toSorted((a, b) => summarize(b).length - summarize(a).length || b.length - a.length)
  return most[0]![0]!.machine
}

/** Half of the weights: each pruner and pattern, on each model that was pruned. */
export function zerosPart(record: Record | undefined): string {
  if (!record) return notMeasured('sparsegpt')
  const shares = ['50%', '4:8', '2:4']
  const pruners = ['magnitude', 'wanda', 'sparsegpt']
  const rows = modelsOf(record).flatMap((model) => {
    const summaries = summarize(record.runs.filter((run) => run.model === model))
    const kl = (name: string) => summaries.find((row) => row.name === name)?.kl.mean
    return shares.flatMap((share) => {
      const found = pruners.map((method) => kl(`${method} ${share}`))
      return found.some((value) => value === undefined)
        ? []
        : [[model, share, ...found.map((value) => value!.toPrecision(3))]]
    })
  })
  return [
    table(['model', 'zeros', ...pruners.map((name) => `KL of ${name}`)], rows),
    '',
    `Command: \`${commandOf('sparsegpt')}\`\\`,
    machineLines(record),
  ].join('\n')
}
