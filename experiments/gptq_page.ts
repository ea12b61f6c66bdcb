/** The page and the figure of the GPTQ experiment, made from its record. */
import type { Spec } from 'vega'
import { claimLines, commandOf, staleMark } from './experiment.ts'
import { lineFigure } from './figure.ts'
import { claims, isCurrent, nameOf, type Result, type Row, type Run, summarize } from './gptq_result.ts'
import { table } from './table.ts'

const number = (value: number, digits: number) => value.toFixed(digits)

/** The machines of some runs, each once, in the order in which they first stand. */
const machinesOf = (rows: readonly Row[]): string[] => [
  ...new Set(rows.flatMap(({ runs }) => runs.map(({ machine }) => machine))),
]

/** Commits of some runs, each once; those of older kernels are marked. */
const commitsOf = (runs: readonly Run[], result: Pick<Result, 'numerics'>): string =>
  [
    ...new Set(
      runs.map((run) => `${run.commit ?? 'unknown'}${isCurrent(run, result) ? '' : ' (older kernels)'}`),
    ),
  ].join(', ')

/** Rows of a Markdown table: one a configuration. */
export function resultTable(rows: readonly Row[], result: Pick<Result, 'numerics'>): string {
  const machines = machinesOf(rows)
  const cells = rows.map((row) => [
    row.method,
    String(row.bits),
    String(row.group),
    row.symmetric ? 'yes' : 'no',
    row.order,
    number(row.storedBits, 2),
    number(row.perplexity, 2),
    row.runs.map((run) => `${number(run.kl, 4)} ± ${number(run.klStandardError, 4)}`).join('<br>'),
    row.klValidation === undefined ? '' : number(row.klValidation, 4),
    row.klSpread === undefined ? number(row.kl, 4) : `${number(row.kl, 4)}, ${number(row.klSpread, 4)}`,
    row.ratio === undefined ? '' : number(row.ratio, 3),
    [...new Set(row.runs.map(({ machine }) => machines.indexOf(machine) + 1))].join(', '),
    commitsOf(row.runs, result),
  ])
  const head = [
    'method',
    'bits',
    'group',
    'symmetric',
    'order of the sweep',
    'stored bits a weight',
    'perplexity',
    'KL ± standard error, one a seed',
    'mean KL on the validation text',
    'mean KL, spread over seeds',
    'ratio to RTN',
    'machine',
    'commit',
  ]
  return table(head, cells)
}

/** One line each, by the numbers that stand in the table. */
export function machineLines(rows: readonly Row[]): string {
  return machinesOf(rows)
    .map((machine, index) => `Machine ${index + 1}: ${machine}`)
    .join('\\\n')
}

/** @param stale whether the sources differ from those that were measured. */
export function resultPage(result: Result, stale: boolean): string {
  const rows = summarize(result.runs)
  const { setup, perplexitySource } = result.runs[0]!
  return `# GPTQ against round to nearest
${stale ? `\n${staleMark}\n` : ''}
SmolLM2-135M-Instruct, ${setup.samples} × ${setup.length} tokens of Moby Dick to calibrate, ${setup.windows} windows of ${setup.context} tokens of the speeches to test
(every ${setup.every}th, files in alphabetical order). The perplexity of the source is ${number(perplexitySource, 2)} (${setup.context}/nonoverlap).

${claimLines(claims(rows, result))}

![KL over stored bits a weight](gptq.svg)

${resultTable(rows, result)}

KL is in nats a token, from the source to the result; its standard error is that of the mean over windows. The spread is
the standard deviation over calibration seeds; the ratio is that of the mean KL. RTN draws no samples, so that it has one run. Times stand in
[performance](../performance.md): these runs shared their machines with other programs.

The default is act-order, with static groups on asymmetric grids and with groups along the order on symmetric ones: the
better of the two on the validation text, which is Pare's own evaluation text (every second window). That static groups
missed their bound on this test was the reason to compare them there. Rows with one seed say nothing about the spread over seeds.

The matrices of this source lie on a 4-bit grid with blocks of 32. Nothing here says anything about 4 bits or more:
that needs a source in floats. The check at 8 bits takes the dequantised source as the float model.

Command: \`${commandOf('gptq')}\`\\
Commit that the page was made at: ${result.commit}. Every row names the commit that it ran at. A run is marked as one of
older kernels where the present ones give other bits: those move roundings, and the KL by a few percent.\\
${machineLines(rows)}\\
Model: ${result.model.file}, SHA-256 ${result.model.sha256}
`
}

/** KL over stored bits: one line for each method and kind of zero. */
export function resultFigure(result: Result): Spec {
  const points = summarize(result.runs)
    .filter(({ bits }) => bits < 8)
    .map((row) => ({
      series: `${row.method}, ${row.symmetric ? 'symmetric' : 'asymmetric'}${row.order === 'file' ? '' : `, ${row.order}`}`,
      x: row.storedBits,
      y: row.kl,
      low: Math.min(...row.runs.map((run) => run.kl)),
      high: Math.max(...row.runs.map((run) => run.kl)),
      label: nameOf(row),
    }))
  return lineFigure(points, {
    x: { title: 'stored bits a linear weight' },
    y: { title: 'KL to the source, nats a token (log)', scale: 'log' },
  })
}
