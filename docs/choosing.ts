/** What docs/choosing.md says in numbers, from the records of the benchmark and of pruning in one pass. */
import { commandOf, machineLines, type Result } from '../experiments/experiment.ts'
import type { OneShotRun } from '../experiments/one_shot_measure.ts'
import { methodsOf, type Summary, summarize } from '../experiments/one_shot_page.ts'
import { ranksAt } from '../experiments/ptq_ranks.ts'
import { table } from '../experiments/table.ts'

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

/** Seconds of each method at 3 bits on the largest model of the record, and what they bought. */
export function timePart(record: Record | undefined, model = 'lm-6m'): string {
  if (!record) return notMeasured('ptq_benchmark')
  const ranks = new Map(ranksAt(record.runs, model, 3).map((rank) => [rank.method, rank]))
  const rows = summarize(record.runs.filter((run) => run.model === model))
    .filter(({ runs }) => ranks.has(methodsOf(runs[0]!.steps)) && isThree(runs[0]!))
    .map((row) => ({ ...row, method: methodsOf(row.runs[0]!.steps), seconds: secondsOf(row) }))
    .toSorted((a, b) => a.seconds - b.seconds)
  return table(
    ['method', 'seconds, evaluation included, least of the seeds', 'stored bits', 'KL'],
    rows.map(({ method, seconds, storedBits, kl }) => [
      method,
      seconds.toFixed(0),
      storedBits.toFixed(2),
      kl.mean.toPrecision(3),
    ]),
  )
}

const isThree = ({ steps }: OneShotRun): boolean => {
  const { bits, books } = steps.at(-1)!
  return (books ?? Math.round(bits ?? 0)) === 3
}
/** Other work may have run beside some of them. */
const secondsOf = ({ runs }: Summary): number => Math.min(...runs.map(({ seconds }) => seconds))

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
